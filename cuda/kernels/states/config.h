// SPDX-License-Identifier: Apache-2.0
//
// What is fixed at compile time in MergeStates and CorrectAttnOut. Host code, no CUDA header.
#ifndef WEFT_CUDA_KERNELS_STATES_CONFIG_H_
#define WEFT_CUDA_KERNELS_STATES_CONFIG_H_

namespace weft::cuda {

// Both have one instantiation for each of f32, f16 and bf16 inputs that may be read 16 bytes at a
// time, and one for all others, which takes one element at a time.

// 16-byte vectors of one lane whose loads are in flight together: 64 bytes, as many lanes share a
// (row, head) as that leaves, and each of them works out the weights once for all its vectors.
inline constexpr int kMergeVectorsInFlight = 2;  // of each of the two states
inline constexpr int kCorrectVectorsInFlight = 4;

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_STATES_CONFIG_H_
