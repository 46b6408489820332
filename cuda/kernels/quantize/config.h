// SPDX-License-Identifier: Apache-2.0
//
// What is fixed at compile time in QuantizeFp8. Host code, no CUDA header.
#ifndef WEFT_CUDA_KERNELS_QUANTIZE_CONFIG_H_
#define WEFT_CUDA_KERNELS_QUANTIZE_CONFIG_H_

namespace weft::cuda {

// One instantiation for each of f32, f16 and bf16 rows that may be read 16 bytes at a time, and one
// for all others, which takes one element at a time.

// Vectors of one lane whose loads are in flight together.
inline constexpr int kQuantizeVectorsInFlight = 4;
inline constexpr int kQuantizeVectorsOfPart = 32 * kQuantizeVectorsInFlight;

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_QUANTIZE_CONFIG_H_
