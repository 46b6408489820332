# SPDX-License-Identifier: Apache-2.0
"""The module extension that declares @software_vulkan."""

load(":software_vulkan.bzl", "software_vulkan")

def _vulkan_impl(module_ctx):
    software_vulkan(name = "software_vulkan")

    # What it finds is a matter of the machine: keep it out of the lock file.
    return module_ctx.extension_metadata(reproducible = True)

vulkan = module_extension(
    implementation = _vulkan_impl,
    doc = "Declares @software_vulkan: the device in $WEFT_SOFTWARE_VULKAN, or empty stand-ins.",
)
