# SPDX-License-Identifier: Apache-2.0
"""glsl_shader: GLSL to SPIR-V to a C++ array."""

load("@rules_cc//cc:cc_library.bzl", "cc_library")

# glslang names the file that it compiles, also where all is well; shown is only what follows.
_SCRIPT = """\
log=$("$@" 2>&1); status=$?
log=$(printf '%s' "$log" | sed '1{/^[^ ]*$/d}')
[ -z "$log" ] || printf '%s\\n' "$log" >&2
exit $status
"""

def _compile_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".spv")
    root = ctx.label.workspace_root + "/" if ctx.label.workspace_root else ""
    args = ctx.actions.args()
    args.add(ctx.executable._compiler)
    args.add_all(["--target-env", ctx.attr.target_env])
    args.add_all(ctx.attr.defines, format_each = "-D%s")
    args.add_all(ctx.attr.includes, format_each = "-I" + root + "%s")
    args.add("-o", out)
    args.add(ctx.file.src)
    ctx.actions.run_shell(
        arguments = [args],
        command = _SCRIPT,
        inputs = [ctx.file.src] + ctx.files.hdrs,
        mnemonic = "GlslCompile",
        outputs = [out],
        progress_message = "Compiling %{input} (GLSL)",
        tools = [ctx.attr._compiler[DefaultInfo].files_to_run],
    )
    return DefaultInfo(files = depset([out]))

_compile = rule(
    implementation = _compile_impl,
    attrs = {
        "defines": attr.string_list(),
        "hdrs": attr.label_list(allow_files = [".glsl", ".h"], doc = "files that src includes"),
        "includes": attr.string_list(doc = "include folders, from the top of the repository"),
        "src": attr.label(
            allow_single_file = [".comp", ".frag", ".vert", ".rgen", ".rchit", ".rmiss", ".mesh", ".task"],
            mandatory = True,
        ),
        "target_env": attr.string(default = "vulkan1.3"),
        "_compiler": attr.label(allow_files = True, cfg = "exec", default = "//tools/build_defs/glsl:compiler", executable = True),
    },
)

def _embed_impl(ctx):
    h = ctx.actions.declare_file(ctx.attr.stem + ".h")
    cc = ctx.actions.declare_file(ctx.attr.stem + ".cc")
    include = "{}/{}.h".format(ctx.label.package, ctx.attr.stem)
    ctx.actions.run(
        executable = ctx.executable._embed,
        arguments = [ctx.attr.namespace, ctx.attr.symbol, ctx.file.spirv.path, h.path, cc.path, include],
        inputs = [ctx.file.spirv],
        mnemonic = "EmbedSpirv",
        outputs = [h, cc],
    )
    return [
        DefaultInfo(files = depset([h, cc])),
        OutputGroupInfo(h = depset([h]), cc = depset([cc])),
    ]

_embed = rule(
    implementation = _embed_impl,
    attrs = {
        "namespace": attr.string(mandatory = True),
        "spirv": attr.label(allow_single_file = [".spv"], mandatory = True),
        "stem": attr.string(mandatory = True),
        "symbol": attr.string(mandatory = True),
        "_embed": attr.label(cfg = "exec", default = "//tools/build_defs/glsl:embed_spirv", executable = True),
    },
)

def glsl_shader(name, src, namespace, symbol = None, visibility = None, testonly = None, **kwargs):
    """A cc_library with the words of a compiled shader.

    "#include <package>/<name>.h" declares "const uint32_t <symbol>[N]" in the given namespace. The
    module itself is the target <name>.spv.

    Args:
      name: the target's name.
      src: the GLSL source; its extension tells the stage.
      namespace: the C++ namespace.
      symbol: the array's name; by default k and the name in camel case.
      visibility: who may depend on it.
      testonly: as everywhere.
      **kwargs: hdrs, includes, defines, target_env.
    """
    _compile(name = name + "_spirv", src = src, testonly = testonly, visibility = ["//visibility:private"], **kwargs)
    _embed(
        name = name + "_embed",
        namespace = namespace,
        spirv = name + "_spirv",
        stem = name,
        symbol = symbol or "k" + "".join([part.capitalize() for part in name.split("_")]),
        testonly = testonly,
        visibility = ["//visibility:private"],
    )
    for group in ["h", "cc"]:
        native.filegroup(
            name = "{}_{}".format(name, group),
            srcs = [name + "_embed"],
            output_group = group,
            testonly = testonly,
            visibility = ["//visibility:private"],
        )
    cc_library(
        name = name,
        srcs = [name + "_cc"],
        hdrs = [name + "_h"],
        testonly = testonly,
        visibility = visibility,
    )
