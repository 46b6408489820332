"""Makes @local_cuda from the CUDA toolkit of this machine, or an empty stand-in where it has none."""

# Library target -> where it may lie in the toolkit; the first file that exists is taken.
_STATIC_LIBRARIES = {
    "cudadevrt": ["lib64/libcudadevrt.a"],
    "cudart_static": ["lib64/libcudart_static.a"],
}
_SHARED_LIBRARIES = ["cublas", "cublasLt", "cudnn", "cufft", "curand", "nccl", "nvrtc"]

_HEADER = """\
load("@rules_cc//cc:defs.bzl", "cc_import", "cc_library")
load("{flags}", "bool_flag")
load("{toolkit}", "cuda_toolkit")

package(default_visibility = ["//visibility:public"])

bool_flag(name = "present", build_setting_default = {present})
"""

_TOOLKIT = """
cuda_toolkit(
    name = "toolkit",
    nvcc = "bin/nvcc",
    path = "{path}",
    tools = glob(["bin/**", "nvvm/**"]),
    version = "{version}",
)

# The CUDA C and C++ headers, without the C++ core libraries (Thrust, CUB, libcu++).
cc_library(
    name = "headers",
    hdrs = glob(["include/**"], exclude = ["include/cccl/**"]) + glob(["include/cccl/nv/**"]),
    includes = ["include", "include/cccl"],
)

cc_library(
    name = "cccl",
    hdrs = glob(["include/cccl/**"]),
    deps = [":headers"],
)

# The runtime, linked statically. It opens the driver when it is first used, so a program that
# depends on it starts on a machine without one.
cc_library(
    name = "cudart",
    linkopts = ["-ldl", "-lpthread", "-lrt"],
    deps = [":headers", ":cudart_static"],
)
"""

_NO_TOOLKIT = """
cuda_toolkit(name = "toolkit")
"""

_NONE = """
cc_library(
    name = "{name}",
    target_compatible_with = ["@platforms//:incompatible"],
)
"""

_STATIC = """
cc_import(
    name = "{name}",
    static_library = "{file}",
)
"""

_SHARED = """
cc_import(
    name = "{name}_import",
    shared_library = "{file}",
)

cc_library(
    name = "{name}",
    deps = [":headers", ":{name}_import"],
)
"""

def _version(rctx, cuda):
    for line in rctx.read(cuda.get_child("include", "cuda.h")).splitlines():
        if line.startswith("#define CUDA_VERSION"):
            number = int(line.split(" ")[-1])
            return "{}.{}".format(number // 1000, number % 1000 // 10)
    return "unknown"

def _find_shared(cuda, name):
    """The file that bears the library's SONAME (libx.so.N), which is what programs look for."""
    prefix = "lib{}.so.".format(name)
    for entry in sorted(cuda.get_child("lib64").realpath.readdir(), key = lambda e: len(e.basename)):
        if entry.basename.startswith(prefix):
            return "lib64/" + entry.basename
    return None

def _cuda_configure_impl(rctx):
    cuda = rctx.path(rctx.getenv("CUDA_PATH") or "/usr/local/cuda")
    present = cuda.get_child("bin", "nvcc").exists and cuda.get_child("include", "cuda.h").exists
    build = _HEADER.format(
        flags = Label("//tools/build_defs/cuda:flags.bzl"),
        present = present,
        toolkit = Label("//tools/build_defs/cuda:toolkit.bzl"),
    )
    if present:
        for folder in ["bin", "include", "lib64", "nvvm"]:
            rctx.symlink(cuda.get_child(folder), folder)
        build += _TOOLKIT.format(path = cuda.realpath, version = _version(rctx, cuda))
    else:
        build += _NO_TOOLKIT
        for name in ["headers", "cccl", "cudart"]:
            build += _NONE.format(name = name)

    for name, files in _STATIC_LIBRARIES.items():
        found = [f for f in files if present and cuda.get_child(f).exists]
        build += _STATIC.format(name = name, file = found[0]) if found else _NONE.format(name = name)
    for name in _SHARED_LIBRARIES:
        file = _find_shared(cuda, name) if present else None
        build += _SHARED.format(name = name, file = file) if file else _NONE.format(name = name)
    rctx.file("BUILD.bazel", build)

cuda_configure = repository_rule(
    implementation = _cuda_configure_impl,
    configure = True,
    environ = ["CUDA_PATH"],
    local = True,
)
