// SPDX-License-Identifier: Apache-2.0
//
// What is fixed at compile time in GatherRows. Host code, no CUDA header.
#ifndef WEFT_CUDA_KERNELS_GATHER_ROWS_CONFIG_H_
#define WEFT_CUDA_KERNELS_GATHER_ROWS_CONFIG_H_

namespace weft::cuda {

// The operation moves bytes: only the width of one access changes instructions. These are all the
// instantiations.
inline constexpr int kGatherUnitBytes[] = {16, 4, 2, 1};

// Units of one lane whose loads are in flight together. A whole warp then moves parts of 2 KiB.
inline constexpr int kGatherUnitsInFlight = 4;
inline constexpr int kGatherUnitsOfPart = 32 * kGatherUnitsInFlight;

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_GATHER_ROWS_CONFIG_H_
