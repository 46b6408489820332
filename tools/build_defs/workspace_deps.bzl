# SPDX-License-Identifier: Apache-2.0
"""The dependencies, for builds that use WORKSPACE instead of Bazel modules (Bazel 7 and 8)."""

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")
load("@bazel_tools//tools/build_defs/repo:utils.bzl", "maybe")
load("//third_party:sources.bzl", "glslang_repository")
load("//tools/build_defs/cuda:configure.bzl", "cuda_configure")
load("//tools/build_defs/vulkan:software_vulkan.bzl", "software_vulkan")
load("//tools/build_defs/vulkan:vulkan_layers.bzl", "vulkan_layers")

def _rules():
    # Not 0.2: that wants a repository that only its own macro makes.
    maybe(
        http_archive,
        name = "rules_cc",
        integrity = "sha256-uLkYqF+RRMAfbP4PReTyg4x0E5Yaj/I7wMbN+LsHo7Y=",
        strip_prefix = "rules_cc-0.1.5",
        urls = ["https://github.com/bazelbuild/rules_cc/releases/download/0.1.5/rules_cc-0.1.5.tar.gz"],
    )
    maybe(
        http_archive,
        name = "rules_shell",
        integrity = "sha256-PhFEJKXH5P1D4BM8xuzf5U5Fror/oU+t2DnymQFCQEM=",
        strip_prefix = "rules_shell-0.4.0",
        urls = ["https://github.com/bazelbuild/rules_shell/releases/download/v0.4.0/rules_shell-v0.4.0.tar.gz"],
    )
    maybe(
        http_archive,
        name = "bazel_skylib",
        integrity = "sha256-O1tJAGGB9fj/Ym743c6qlem7itKU97XXsR6p992vjFk=",
        urls = ["https://github.com/bazelbuild/bazel-skylib/releases/download/1.9.0/bazel-skylib-1.9.0.tar.gz"],
    )

def _libraries():
    maybe(
        http_archive,
        name = "abseil-cpp",
        integrity = "sha256-QxTip8usicrCWi8jIocPND2BV5dWzv9/QxgDwskJAZU=",
        strip_prefix = "abseil-cpp-20260107.1",
        urls = ["https://github.com/abseil/abseil-cpp/releases/download/20260107.1/abseil-cpp-20260107.1.tar.gz"],
    )
    maybe(
        http_archive,
        name = "cli11",
        build_file = Label("//third_party:cli11.BUILD"),
        integrity = "sha256-8tiTplw7EyTFDU5oLAzcAh3QR3riwEhUTznu1mVLaZo=",
        strip_prefix = "CLI11-2.4.2",
        urls = ["https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.2.tar.gz"],
    )
    maybe(
        http_archive,
        name = "nlohmann_json",
        build_file = Label("//third_party:nlohmann_json.BUILD"),
        integrity = "sha256-oiRh0TEZrFx48gXT3x2xNAPljOG7F5TtyTE2dzE/Sp0=",
        urls = ["https://github.com/nlohmann/json/releases/download/v3.11.3/include.zip"],
    )
    maybe(
        http_archive,
        name = "vulkan_headers",
        build_file = Label("//third_party:vulkan_headers.BUILD"),
        integrity = "sha256-17hHEvhGlle6o3pDbRoj778KY1T8iDW2dY7wNuFdzBQ=",
        strip_prefix = "Vulkan-Headers-1.4.349",
        urls = ["https://github.com/KhronosGroup/Vulkan-Headers/archive/refs/tags/v1.4.349.tar.gz"],
    )

def _testing():
    maybe(
        http_archive,
        name = "googletest",
        integrity = "sha256-Zfq3AdmCnTjLd8FKzcQx0hCL/b+JeeQOuK5Wft8Qsnw=",
        strip_prefix = "googletest-1.17.0",
        urls = ["https://github.com/google/googletest/releases/download/v1.17.0/googletest-1.17.0.tar.gz"],
    )
    maybe(
        http_archive,
        name = "google_benchmark",
        integrity = "sha256-ljE0HIK6xKKIvvlR+LJrQfaQIXlBhOzpafhHOXfqo0A=",
        strip_prefix = "benchmark-1.9.5",
        urls = ["https://github.com/google/benchmark/archive/refs/tags/v1.9.5.tar.gz"],
    )

def weft_dependencies():
    """Declares what MODULE.bazel declares. What the workspace has declared before stays."""
    _rules()
    _libraries()
    _testing()
    maybe(cuda_configure, name = "local_cuda")
    maybe(software_vulkan, name = "software_vulkan")
    maybe(vulkan_layers, name = "vulkan_layers")
    glslang_repository()
