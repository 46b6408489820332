# SPDX-License-Identifier: Apache-2.0
"""The module extensions that declare @software_vulkan and @vulkan_layers."""

load(":software_vulkan.bzl", "software_vulkan")
load(":vulkan_layers.bzl", "vulkan_layers")

def _vulkan_impl(module_ctx):
    software_vulkan(name = "software_vulkan")

    # What it finds is a matter of the machine: keep it out of the lock file.
    return module_ctx.extension_metadata(reproducible = True)

vulkan = module_extension(
    implementation = _vulkan_impl,
    doc = "Declares @software_vulkan: the device in $WEFT_SOFTWARE_VULKAN, or empty stand-ins.",
)

def _vulkan_dev_impl(module_ctx):
    vulkan_layers(name = "vulkan_layers")
    return module_ctx.extension_metadata(reproducible = True)

vulkan_dev = module_extension(
    implementation = _vulkan_dev_impl,
    doc = "Declares @vulkan_layers: what lies in $WEFT_VULKAN_LAYERS, or an empty stand-in.",
)
