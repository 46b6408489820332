# SPDX-License-Identifier: Apache-2.0
"""Sources that are not in the Bazel Central Registry."""

def _glslang_impl(rctx):
    tool = rctx.getenv("GLSLANG_VALIDATOR")
    if tool:
        # A compiler that is already there: the Vulkan SDK's, or a distribution's.
        rctx.symlink(tool, "glslangValidator")
        rctx.file("BUILD.bazel", 'exports_files(["glslangValidator"])\n')
        return

    folder = rctx.getenv("GLSLANG_SOURCE_DIR")
    if folder:
        # Sources that are already there.
        for entry in rctx.path(folder).readdir():
            if entry.basename not in ["BUILD", "BUILD.bazel", "MODULE.bazel", "WORKSPACE"]:
                rctx.symlink(entry, entry.basename)
    else:
        rctx.download_and_extract(
            url = rctx.attr.urls,
            sha256 = rctx.attr.sha256,
            stripPrefix = rctx.attr.strip_prefix,
        )
    rctx.symlink(rctx.attr.build_file, "BUILD.bazel")

_glslang = repository_rule(
    implementation = _glslang_impl,
    attrs = {
        "build_file": attr.label(allow_single_file = True, mandatory = True),
        "sha256": attr.string(mandatory = True),
        "strip_prefix": attr.string(mandatory = True),
        "urls": attr.string_list(mandatory = True),
    },
    doc = """@glslang//:glslangValidator.

    By default it is built from source. --repo_env=GLSLANG_VALIDATOR=<program> takes a program that
    is there, --repo_env=GLSLANG_SOURCE_DIR=<folder> takes the sources from a folder.
    """,
    environ = ["GLSLANG_SOURCE_DIR", "GLSLANG_VALIDATOR"],
)

def glslang_repository():
    """Declares @glslang, as the Vulkan SDK 1.4.309.0 has it."""
    _glslang(
        name = "glslang",
        build_file = Label("//third_party:glslang.BUILD"),
        sha256 = "0637ee88ce58a998e4bd9cb76f73f3a8aeadb56f0826faf0dd369710edc263eb",
        strip_prefix = "glslang-vulkan-sdk-1.4.309.0",
        urls = ["https://github.com/KhronosGroup/glslang/archive/refs/tags/vulkan-sdk-1.4.309.0.tar.gz"],
    )
