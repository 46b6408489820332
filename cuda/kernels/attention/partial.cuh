// SPDX-License-Identifier: Apache-2.0
//
// What a block of a decode has to do, and where the states of granules stand in between.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_PARTIAL_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_PARTIAL_CUH_

#include <cstdint>

#include "core/plan_tables.h"
#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/tiles.cuh"

namespace weft::cuda {

// The weighted sum of values of (partial, head): [head_size].
__device__ inline float* PartialSum(const AttentionParams& p, int64_t partial, int head) {
  return reinterpret_cast<float*>(p.partial_sums) +
         (partial * p.num_heads + head) * int64_t{p.head_size};
}
// Its largest logit and its sum of weights; a multiple of 4 bytes, not of 8, where sums before it
// are odd in number.
__device__ inline float* PartialStats(const AttentionParams& p, int64_t partial, int head) {
  return reinterpret_cast<float*>(p.partial_stats) + (partial * p.num_heads + head) * 2;
}
__device__ inline void StoreStats(const AttentionParams& p, int64_t partial, int head, float max,
                                  float sum) {
  float* stats = PartialStats(p, partial, head);
  stats[0] = max;
  stats[1] = sum;
}

// This block's place in the grid.
struct DecodePlace {
  int split;
  int kv_head;
  int first_head;  // query heads
  int num_heads;
};

__device__ inline DecodePlace FindDecodePlace(const AttentionParams& p, int heads_of_block) {
  const uint32_t heads_and_chunks = p.num_kv_heads * p.chunks;
  const uint32_t split = blockIdx.x / heads_and_chunks;
  const uint32_t rest = blockIdx.x - split * heads_and_chunks;
  const uint32_t chunk = rest / p.num_kv_heads;
  DecodePlace place;
  place.split = static_cast<int>(split);
  place.kv_head = static_cast<int>(rest - chunk * p.num_kv_heads);
  const int in_group = static_cast<int>(chunk) * heads_of_block;
  place.first_head = place.kv_head * static_cast<int>(p.group_size) + in_group;
  place.num_heads = min(static_cast<int>(p.group_size) - in_group, heads_of_block);
  return place;
}

// A granule of a decode row. No keys: an entry that only fills up a table.
struct DecodeWork {
  KeyRange keys;  // what the row sees of the granule
  int row;
  int position;
  int partial;
};

__device__ inline DecodeWork FindDecodeWork(const AttentionParams& p, int split_index) {
  const int2 split = __ldg(reinterpret_cast<const int2*>(p.decode_splits) + split_index);
  if (split.x < 0) return {};
  const int4* decode_row = reinterpret_cast<const int4*>(p.decode_rows) + 2 * int64_t{split.x};
  const int4 row = __ldg(decode_row);
  const int4 keys = __ldg(decode_row + 1);
  const VisibleKeys seen = VisibleKeys::Of(p, row.y, keys.x);
  const int first_key = split.y * static_cast<int>(kGranule);
  DecodeWork work;
  work.keys.first_block = row.z;
  work.keys.begin = max(seen.first, first_key);
  work.keys.end =
      min(seen.first + static_cast<int>(seen.count), first_key + static_cast<int>(kGranule));
  work.row = row.x;
  work.position = row.y;
  work.partial = row.w + split.y - keys.y;
  return work;
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_PARTIAL_CUH_
