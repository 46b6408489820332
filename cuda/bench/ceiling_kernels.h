// SPDX-License-Identifier: Apache-2.0
//
// Kernels that show what a device and its driver do at best: a copy, and nothing at all.
#ifndef WEFT_CUDA_BENCH_CEILING_KERNELS_H_
#define WEFT_CUDA_BENCH_CEILING_KERNELS_H_

#include <cstdint>

#include "cuda_runtime_api.h"

namespace weft::cuda {

// Copies `bytes`, a multiple of 16, between places at multiples of 16 that do not overlap. Not
// cudaMemcpyAsync: in a graph that is a copy engine's work, which reaches two thirds of this.
cudaError_t LaunchStreamCopy(uint64_t to, uint64_t from, int64_t bytes, cudaStream_t stream);

// One warp that ends at once: what a launch costs the host.
cudaError_t LaunchNothing(cudaStream_t stream);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_BENCH_CEILING_KERNELS_H_
