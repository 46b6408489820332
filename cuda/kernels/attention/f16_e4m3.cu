// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/instance.cuh"

namespace weft::cuda {

WEFT_DEFINE_ATTENTION(F16, kE4M3, 64)
WEFT_DEFINE_ATTENTION(F16, kE4M3, 128)
WEFT_DEFINE_ATTENTION(F16, kE4M3, 256)

}  // namespace weft::cuda
