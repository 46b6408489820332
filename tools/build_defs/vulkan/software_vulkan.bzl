# SPDX-License-Identifier: Apache-2.0
"""@software_vulkan: a Vulkan device in software (Mesa's lavapipe), with a loader and a validation layer.

tools/setup/install_vulkan.sh makes the folder, ./bazelw names it by --repo_env=WEFT_SOFTWARE_VULKAN.
Without it the same targets exist and are empty: a machine with Vulkan of its own needs nothing here.
"""

_BUILD = """\
load("{flags}", "bool_flag")

package(default_visibility = ["//visibility:public"])

bool_flag(
    name = "is_present",
    build_setting_default = {present},
)

# True where there is a software device.
config_setting(
    name = "present",
    flag_values = {{":is_present": "True"}},
)

# Everything: the driver, the loader, the validation layer and the libraries that they need, beside
# each other. The manifests name them by relative paths, which hold in runfiles too.
filegroup(
    name = "driver",
    srcs = {files},
)

# Each a single file, for $(rlocationpath).
filegroup(
    name = "icd",
    srcs = ["lvp_icd.json"],
)

filegroup(
    name = "loader",
    srcs = ["libvulkan.so.1"],
)

filegroup(
    name = "validation_manifest",
    srcs = ["layers/VkLayer_khronos_validation.json"],
)

filegroup(
    name = "validation_layer",
    srcs = {layer},
)
"""

_SINGLE = ["lvp_icd.json", "libvulkan.so.1", "layers/VkLayer_khronos_validation.json"]

def _software_vulkan_impl(rctx):
    folder = rctx.getenv("WEFT_SOFTWARE_VULKAN")
    files = []
    if folder:
        for entry in rctx.path(folder).readdir():
            if ".so" in entry.basename or entry.basename.endswith(".json"):
                rctx.symlink(entry, entry.basename)
                files.append(entry.basename)
        layers = rctx.path(folder).get_child("layers")
        for entry in layers.readdir():
            rctx.symlink(entry, "layers/" + entry.basename)
            files.append("layers/" + entry.basename)
        missing = [f for f in _SINGLE if f not in files]
        if missing:
            fail("WEFT_SOFTWARE_VULKAN={} lacks {}".format(folder, ", ".join(missing)))
    else:
        for name in _SINGLE:
            rctx.file(name, "{}\n" if name.endswith(".json") else "", executable = False)
    layer = [f for f in files if "VkLayer" in f]
    rctx.file("BUILD.bazel", _BUILD.format(
        files = repr(sorted(files)),
        flags = Label("//tools/build_defs:flags.bzl"),
        layer = repr(layer or ["layers/VkLayer_khronos_validation.json"]),
        present = bool(folder),
    ))

software_vulkan = repository_rule(
    implementation = _software_vulkan_impl,
    configure = True,
    environ = ["WEFT_SOFTWARE_VULKAN"],
    local = True,
)
