# SPDX-License-Identifier: Apache-2.0
"""@vulkan_layers: a validation layer, spirv-val and a Mesa that want a newer libc than the machine's.

tools/setup/install_layers.sh makes the folder, ./bazelw names it by --repo_env=WEFT_VULKAN_LAYERS.
Without it the same targets exist and are empty, and tests that want them skip themselves.
"""

_BUILD = """\
package(default_visibility = ["//visibility:public"])

# The loader that starts a program among these libraries; an empty file where there are none.
exports_files(["ld.so"])

filegroup(
    name = "files",
    srcs = {files},
)
"""

def _vulkan_layers_impl(rctx):
    folder = rctx.getenv("WEFT_VULKAN_LAYERS")
    files = ["ld.so"]
    if folder:
        root = rctx.path(folder)
        for entry in root.readdir():
            if ".so" in entry.basename or entry.basename in ["lvp_icd.json", "spirv-val"]:
                rctx.symlink(entry, entry.basename)
                files.append(entry.basename)
        for entry in root.get_child("layers").readdir():
            rctx.symlink(entry, "layers/" + entry.basename)
            files.append("layers/" + entry.basename)
    else:
        rctx.file("ld.so", "", executable = False)
    rctx.file("BUILD.bazel", _BUILD.format(files = repr(sorted({f: None for f in files}))))

vulkan_layers = repository_rule(
    implementation = _vulkan_layers_impl,
    configure = True,
    environ = ["WEFT_VULKAN_LAYERS"],
    local = True,
)
