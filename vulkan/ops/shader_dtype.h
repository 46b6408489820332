// SPDX-License-Identifier: Apache-2.0
//
// Element types as shaders number them.
#ifndef WEFT_VULKAN_OPS_SHADER_DTYPE_H_
#define WEFT_VULKAN_OPS_SHADER_DTYPE_H_

#include <cstdint>

#include "core/dtype.h"

namespace weft::vulkan {

// kF32, kF16, kBF16, kE4M3 and kE5M2 of vulkan/shaders/convert.glsl; `dtype` is one of these.
constexpr uint32_t ShaderDType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 2;
    case DType::kF8E4M3:
      return 3;
    default:
      return 4;
  }
}

// Shaders read e4m3 codes as halves of 2^-8 of the value (HalvesOfFloat8 of convert.glsl).
constexpr float Float8Unit(DType dtype) { return dtype == DType::kF8E4M3 ? 256.0f : 1.0f; }

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_SHADER_DTYPE_H_
