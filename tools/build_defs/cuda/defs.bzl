# SPDX-License-Identifier: Apache-2.0
"""Rules for CUDA: cuda_library compiles kernels, gpu_test runs on a device."""

load("@rules_cc//cc:cc_test.bzl", "cc_test")
load("@rules_cc//cc:find_cc_toolchain.bzl", "find_cc_toolchain", "use_cc_toolchain")
load("@rules_cc//cc/common:cc_common.bzl", "cc_common")
load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")
load("//tools/build_defs:flags.bzl", "FlagInfo")
load(":toolkit.bzl", "CudaToolkitInfo")

# For target_compatible_with: "bazel test //..." skips such targets where there is no toolkit.
REQUIRES_CUDA = select({
    Label("//tools/build_defs/cuda:is_enabled"): [],
    "//conditions:default": ["@platforms//:incompatible"],
})

_MODE_FLAGS = {
    "dbg": ["-O0", "-g"],
    "fastbuild": ["-O1"],
    "opt": ["-O3", "-DNDEBUG"],
}

def _gencode(arch):
    number = arch.split("_")[-1]
    return "-gencode=arch=compute_{},code={}".format(number, arch)

def _compile_kernels(ctx, toolkit, cc_toolchain, compilation_context):
    """One nvcc action for each source. Returns the object files, and what ptxas says of the kernels."""
    cpp = ctx.fragments.cpp
    args = ctx.actions.args()
    args.add_all(["-x", "cu", "-c", "-ccbin", cc_toolchain.compiler_executable])
    args.add_all(ctx.attr._archs[FlagInfo].value, map_each = _gencode)
    args.add_all(_MODE_FLAGS[ctx.var["COMPILATION_MODE"]])
    for flag in cpp.copts + cpp.cxxopts:
        args.add(flag if flag.startswith("-std=") else "-Xcompiler=" + flag)
    args.add_all(["-Xcompiler=-fPIC", "--expt-relaxed-constexpr", "-Xptxas=-v"])
    if not ctx.label.workspace_name:
        # This repository's own kernels: the same rigour as for its C++ (.bazelrc).
        args.add_all(["-Xcompiler=-Wall,-Wextra", "--Werror=all-warnings"])
    args.add_all(ctx.attr.copts)
    args.add_all(compilation_context.defines, format_each = "-D%s")
    args.add_all(compilation_context.local_defines, format_each = "-D%s")
    args.add_all(compilation_context.quote_includes, format_each = "-Xcompiler=-iquote,%s")
    args.add_all(compilation_context.includes, format_each = "-I%s")
    args.add_all(compilation_context.system_includes, before_each = "-isystem")
    args.add_all(getattr(compilation_context, "external_includes", depset()), before_each = "-isystem")

    objects = []
    reports = []
    for src in ctx.files.srcs:
        name = src.basename.removesuffix("." + src.extension)
        obj = ctx.actions.declare_file("_objs/{}/{}.cu.o".format(ctx.label.name, name))
        report = ctx.actions.declare_file("_objs/{}/{}.ptxas.txt".format(ctx.label.name, name))
        ctx.actions.run_shell(
            # Registers and spills of each kernel come on stderr, as warnings and errors do.
            command = 'report="$1"; shift; "$@" 2>"$report" || { cat "$report" >&2; exit 1; }',
            arguments = [report.path, toolkit.nvcc.path, args, src.path, "-o", obj.path],
            inputs = depset(
                [src, toolkit.nvcc],
                transitive = [compilation_context.headers, toolkit.tools, cc_toolchain.all_files],
            ),
            mnemonic = "CudaCompile",
            outputs = [obj, report],
            progress_message = "Compiling {} (CUDA {})".format(src.short_path, toolkit.version),
            use_default_shell_env = True,
        )
        objects.append(obj)
        reports.append(report)
    return depset(objects), depset(reports)

def _cuda_library_impl(ctx):
    toolkit = ctx.attr._toolkit[CudaToolkitInfo]
    cc_toolchain = find_cc_toolchain(ctx)
    features = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = cc_toolchain,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    deps = [dep[CcInfo] for dep in ctx.attr.deps + ctx.attr._implicit_deps]
    compilation_context, _ = cc_common.compile(
        actions = ctx.actions,
        cc_toolchain = cc_toolchain,
        compilation_contexts = [dep.compilation_context for dep in deps],
        defines = ctx.attr.defines,
        feature_configuration = features,
        name = ctx.label.name,
        private_hdrs = [],
        public_hdrs = ctx.files.hdrs,
    )
    objects, reports = _compile_kernels(ctx, toolkit, cc_toolchain, compilation_context)
    linking_context, linking_outputs = cc_common.create_linking_context_from_compilation_outputs(
        actions = ctx.actions,
        cc_toolchain = cc_toolchain,
        compilation_outputs = cc_common.create_compilation_outputs(objects = objects, pic_objects = objects),
        disallow_dynamic_library = True,
        feature_configuration = features,
        linking_contexts = [dep.linking_context for dep in deps],
        name = ctx.label.name,
    )
    archives = []
    if linking_outputs.library_to_link:
        library = linking_outputs.library_to_link
        archives = [f for f in [library.static_library, library.pic_static_library] if f]
    return [
        CcInfo(compilation_context = compilation_context, linking_context = linking_context),
        DefaultInfo(files = depset(archives)),
        OutputGroupInfo(compilation_outputs = objects, ptxas = reports),
        coverage_common.instrumented_files_info(ctx, dependency_attributes = ["deps"], source_attributes = ["srcs", "hdrs"]),
    ]

_cuda_library = rule(
    implementation = _cuda_library_impl,
    attrs = {
        "copts": attr.string_list(doc = "more flags for nvcc"),
        "defines": attr.string_list(doc = "defines for this target and its users"),
        "deps": attr.label_list(providers = [CcInfo]),
        "hdrs": attr.label_list(allow_files = [".h", ".cuh"]),
        "srcs": attr.label_list(allow_files = [".cu"], mandatory = True),
        "_archs": attr.label(default = "//tools/build_defs/cuda:archs"),
        "_implicit_deps": attr.label_list(default = ["@local_cuda//:cudart"], providers = [CcInfo]),
        "_toolkit": attr.label(default = "@local_cuda//:toolkit"),
    },
    fragments = ["cpp"],
    provides = [CcInfo],
    toolchains = use_cc_toolchain(),
)

def cuda_library(name, **kwargs):
    """A C++ library of CUDA kernels. Other C++ targets depend on it as on a cc_library.

    Its output group "ptxas" has the registers and spills of each kernel as text.

    Args:
      name: the target's name.
      **kwargs: srcs, hdrs, deps, copts, defines, and what every rule has.
    """
    _cuda_library(name = name, target_compatible_with = REQUIRES_CUDA, **kwargs)

def gpu_test(name, tags = [], **kwargs):
    """A cc_test that wants a device to itself. It must skip itself where there is none.

    Args:
      name: the target's name.
      tags: more tags.
      **kwargs: what cc_test takes.
    """
    cc_test(
        name = name,
        tags = ["gpu", "resources:gpu:1"] + tags,
        **kwargs
    )
