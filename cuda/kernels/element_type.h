// SPDX-License-Identifier: Apache-2.0
//
// ElementType: the types of DType that kernels compute on, for host and device. No CUDA header.
#ifndef WEFT_CUDA_KERNELS_ELEMENT_TYPE_H_
#define WEFT_CUDA_KERNELS_ELEMENT_TYPE_H_

#include <cstdint>

#include "cuda/kernels/host_device.h"

namespace weft {
enum class DType : uint8_t;  // core/dtype.h, whose other contents are not for nvcc
}  // namespace weft

namespace weft::cuda {

enum class ElementType : uint32_t { kF32, kF16, kBF16, kE4M3, kE5M2 };

// A float or fp8 type; others are never asked for, and give kF32.
ElementType ToElementType(DType dtype);

WEFT_HOST_DEVICE constexpr uint32_t ElementBytes(ElementType type) {
  return type == ElementType::kF32 ? 4u : type >= ElementType::kE4M3 ? 1u : 2u;
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ELEMENT_TYPE_H_
