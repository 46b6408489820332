// SPDX-License-Identifier: Apache-2.0
//
// A kernel that reads pages and does nothing else: the floor of every decode over them.
#ifndef WEFT_CUDA_BENCH_PAGED_READ_H_
#define WEFT_CUDA_BENCH_PAGED_READ_H_

#include <cstdint>

#include "cuda_runtime_api.h"

namespace weft::cuda {

// The keys of block b lie without gaps at key_base + b * block_bytes, its values likewise.
struct PagedReadParams {
  uint64_t key_base;
  uint64_t value_base;
  uint64_t blocks;      // int32 [num_blocks]
  uint64_t sink;        // 0
  int64_t block_bytes;  // from one block to the next
  uint32_t num_blocks;  // to read
  uint32_t half_bytes;  // of keys (or values) in a block, a multiple of 16
};

// Fills `multiprocessors` with as many threads as they hold.
cudaError_t LaunchPagedRead(const PagedReadParams& params, int multiprocessors,
                            cudaStream_t stream);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_BENCH_PAGED_READ_H_
