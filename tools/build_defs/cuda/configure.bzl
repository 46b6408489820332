# SPDX-License-Identifier: Apache-2.0
"""Makes @local_cuda: a CUDA toolkit, or an empty stand-in where none is to be had.

By default the toolkit is hermetic: wheels pinned by version and hash (wheels.bzl), which pip
fetches. --repo_env=WEFT_CUDA=<folder> takes an installed one instead, --repo_env=WEFT_CUDA=none
none at all. Where the wheels are not to be had, the reason is printed and an installed toolkit
($CUDA_PATH, /usr/local/cuda) takes their place, if there is one.
"""

load(":wheels.bzl", "CUDA_WHEELS")

_HEADER = """\
load("@rules_cc//cc:cc_import.bzl", "cc_import")
load("@rules_cc//cc:cc_library.bzl", "cc_library")
load("{flags}", "bool_flag")
load("{toolkit}", "cuda_toolkit")

package(default_visibility = ["//visibility:public"])

# {origin}
bool_flag(
    name = "present",
    build_setting_default = {present},
)
"""

_TOOLKIT = """
cuda_toolkit(
    name = "toolkit",
    nvcc = "bin/nvcc",
    path = "{path}",
    tools = glob([
        "bin/**",
        "nvvm/**",
    ]),
    version = "{version}",
)

# The CUDA C and C++ headers, without the C++ core libraries (Thrust, CUB, libcu++).
cc_library(
    name = "headers",
    hdrs = glob(
        ["include/**"],
        exclude = ["include/cccl/**"],
    ) + glob(["include/cccl/nv/**"]),
    includes = [
        "include",
        "include/cccl",
    ],
)

cc_library(
    name = "cccl",
    hdrs = glob(["include/cccl/**"]),
    deps = [":headers"],
)

cc_import(
    name = "cudart_static",
    static_library = "{lib}/libcudart_static.a",
)

# The runtime, linked statically. It opens the driver when it is first used, so a program that
# depends on it starts on a machine without one.
cc_library(
    name = "cudart",
    linkopts = [
        "-ldl",
        "-lpthread",
        "-lrt",
    ],
    deps = [
        ":cudart_static",
        ":headers",
    ],
)
"""

_STAND_IN = """
cuda_toolkit(name = "toolkit")
"""

_NONE = """
cc_library(
    name = "{name}",
    target_compatible_with = ["@platforms//:incompatible"],
)
"""

def _lib(cuda):
    for name in ["lib64", "lib"]:
        if cuda.get_child(name, "libcudart_static.a").exists:
            return name
    return None

def _is_toolkit(cuda):
    return (cuda.get_child("bin", "nvcc").exists and
            cuda.get_child("include", "cuda_runtime_api.h").exists and
            _lib(cuda) != None)

def _version(rctx, cuda):
    for line in rctx.read(cuda.get_child("include", "cuda_runtime_api.h")).splitlines():
        words = [w for w in line.split(" ") if w]
        if words[:2] == ["#define", "CUDART_VERSION"]:
            number = int(words[2])
            return "{}.{}".format(number // 1000, number % 1000 // 10)
    return "unknown"

def _fetch_wheels(rctx):
    """Unpacks the wheels here. Returns None, or why it could not be done."""
    if rctx.os.name != "linux" or rctx.os.arch not in ["amd64", "x86_64"]:
        return "the pinned wheels are for x86_64 Linux"
    python = rctx.which("python3")
    if not python:
        return "there is no python3 to run pip"
    rctx.file("requirements.txt", "".join([
        "{}=={} --hash=sha256:{}\n".format(name, version, sha256)
        for name, (version, sha256) in CUDA_WHEELS.items()
    ]), executable = False)
    rctx.report_progress("Fetching the CUDA toolkit")
    result = rctx.execute([python, rctx.path(rctx.attr._fetch), "requirements.txt"], timeout = 1800)
    return None if result.return_code == 0 else result.stderr.strip()

def _link(rctx, cuda):
    for folder in ["bin", "include", _lib(cuda), "nvvm"]:
        rctx.symlink(cuda.get_child(folder), folder)

def _provide(rctx):
    """Puts a toolkit here. Returns what it is, and its folder or None."""
    wanted = rctx.getenv("WEFT_CUDA") or ""
    if wanted == "none":
        return "Turned off by WEFT_CUDA=none.", None
    if wanted:
        if not _is_toolkit(rctx.path(wanted)):
            fail("WEFT_CUDA={}: no CUDA toolkit with a static runtime there".format(wanted))
        _link(rctx, rctx.path(wanted))
        return "Installed, named by WEFT_CUDA.", rctx.path(wanted).realpath
    reason = _fetch_wheels(rctx)
    if not reason:
        return "Hermetic, from wheels.", rctx.path(".")
    installed = rctx.path(rctx.getenv("CUDA_PATH") or "/usr/local/cuda")
    if _is_toolkit(installed):
        # buildifier: disable=print
        print("no hermetic CUDA toolkit ({}); using {}".format(reason, installed))
        _link(rctx, installed)
        return "Installed: " + reason, installed.realpath

    # buildifier: disable=print
    print("no CUDA toolkit ({}; none in {} either): CUDA targets are skipped".format(reason, installed))
    return "None: " + reason, None

def _cuda_configure_impl(rctx):
    origin, cuda = _provide(rctx)
    build = _HEADER.format(
        flags = Label("//tools/build_defs:flags.bzl"),
        origin = origin.replace("\n", " "),
        present = cuda != None,
        toolkit = Label("//tools/build_defs/cuda:toolkit.bzl"),
    )
    if cuda:
        build += _TOOLKIT.format(lib = _lib(cuda), path = cuda, version = _version(rctx, cuda))
    else:
        build += _STAND_IN
        for name in ["headers", "cccl", "cudart_static", "cudart"]:
            build += _NONE.format(name = name)
    rctx.file("BUILD.bazel", build, executable = False)

# Not local: what was fetched stays until the pins or the variables change.
cuda_configure = repository_rule(
    implementation = _cuda_configure_impl,
    attrs = {
        "_fetch": attr.label(default = "//tools/build_defs/cuda:fetch_wheels.py"),
    },
    environ = ["CUDA_PATH", "WEFT_CUDA", "WEFT_PIP"],
)
