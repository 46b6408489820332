// SPDX-License-Identifier: Apache-2.0
//
// The kernels compiled with SHADOW_BINDINGS (vulkan/shaders/kernels.bzl).
#ifndef WEFT_VULKAN_LAYERS_SHADOW_MODULES_H_
#define WEFT_VULKAN_LAYERS_SHADOW_MODULES_H_

#include "absl/types/span.h"
#include "vulkan/runtime/kernel.h"

namespace weft::vulkan {

// Under the names of the modules that they stand in for.
absl::Span<const ShaderModule> ShadowModules();

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_LAYERS_SHADOW_MODULES_H_
