# SPDX-License-Identifier: Apache-2.0
"""The packages that layering_test looks at; written by tools/layering/update.sh."""

PACKAGES = [
    "collectives",
    "core",
    "cuda",
    "cuda/kernels/reshape_and_cache",
    "cuda/runtime",
    "testing",
    "testing/conformance",
    "testing/fuzz",
    "testing/golden",
    "testing/reference",
    "testing/sanitizers",
    "tools/build_defs/cuda",
    "tools/build_defs/glsl",
    "tools/build_defs/vulkan",
    "tools/replay",
    "tools/sanitizers",
    "tools/weft",
    "vulkan",
    "vulkan/layers",
    "vulkan/ops",
    "vulkan/runtime",
    "vulkan/shaders",
]
