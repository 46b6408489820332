// SPDX-License-Identifier: Apache-2.0
//
// Division by a run-time number in kernels: a product and a shift (core/divisor.h).
#ifndef WEFT_CUDA_KERNELS_DIVIDE_H_
#define WEFT_CUDA_KERNELS_DIVIDE_H_

#include <cstdint>

#include "core/divisor.h"
#include "cuda/kernels/host_device.h"

namespace weft::cuda {

// n < 2^31.
WEFT_HOST_DEVICE inline uint32_t Divide(uint32_t n, const Divisor& by) {
  return static_cast<uint32_t>((uint64_t{n} * by.multiplier) >> by.shift);
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_DIVIDE_H_
