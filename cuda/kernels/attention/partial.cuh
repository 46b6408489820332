// SPDX-License-Identifier: Apache-2.0
//
// What a block of a decode has to do, and where the states of granules stand in between.
//
// States are put together in two levels. Groups of kFoldedGranules granules (by their absolute
// numbers) are folded, one granule after the other, from the first that the row sees; then the
// groups are summed up (merge.cuh). A block that walks a group from its beginning folds what it
// has of it and leaves one state, at the place of the last granule; whatever it did not have, the
// merge folds onto it, in the same order and with the same roundings. So the bits do not depend on
// how granules were dealt out to blocks.
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

// Marks the place of a granule whose state is contained in a later one's.
inline constexpr float kAbsent = -1.0f;
__device__ inline void StoreAbsent(const AttentionParams& p, int64_t partial, int head) {
  StoreStats(p, partial, head, MinusInfinity(), kAbsent);
}
__device__ inline bool IsAbsent(float sum) { return sum < 0.0f; }

// How a state takes in the one after it. A state that is absent has a largest logit of -infinity,
// and 0 for its sums.
struct FoldStep {
  float max;
  float keep;  // what the state before is multiplied with
  float take;  // and the next one

  // `factor` brings logits to units of log2.
  __device__ static FoldStep Of(float max_before, float max_next, float factor) {
    const float max = fmaxf(max_before, max_next);
    return Of(max_before, max, max_next, factor);
  }
  __device__ static FoldStep Of(float max_before, float max, float max_next, float factor) {
    return {max, Exp2((max_before - Origin(max)) * factor),
            Exp2((max_next - Origin(max)) * factor)};
  }
  // Of sums of weights, or of values.
  __device__ float operator()(float before, float next) const {
    return fmaf(take, next, __fmul_rn(keep, before));
  }
};

// This block's place in the grid: the table entries that it takes, for some heads.
struct DecodePlace {
  int first_split;
  int num_splits;
  int kv_head;
  int first_head;  // query heads
  int num_heads;
};

__device__ inline DecodePlace FindDecodePlace(const AttentionParams& p, int heads_of_block) {
  const uint32_t heads_and_chunks = p.num_kv_heads * p.chunks;
  const uint32_t unit = blockIdx.x / heads_and_chunks;
  const uint32_t rest = blockIdx.x - unit * heads_and_chunks;
  const uint32_t chunk = rest / p.num_kv_heads;
  DecodePlace place;
  const bool is_long = unit < p.long_units;
  const uint32_t first = is_long ? unit * p.unit_splits : unit + p.long_units * (p.unit_splits - 1);
  place.first_split = static_cast<int>(first);
  place.num_splits = static_cast<int>(is_long ? min(p.unit_splits, p.num_work - first) : 1);
  place.kv_head = static_cast<int>(rest - chunk * p.num_kv_heads);
  const int in_group = static_cast<int>(chunk) * heads_of_block;
  place.first_head = place.kv_head * static_cast<int>(p.group_size) + in_group;
  place.num_heads = min(static_cast<int>(p.group_size) - in_group, heads_of_block);
  return place;
}

// A granule of a decode row.
struct DecodeWork {
  KeyRange keys;  // what the row sees of it; none: an entry that only fills up the table
  int row;
  int position;
  int partial;
  int granule;
  bool begins;  // the row sees none before it
};

__device__ inline DecodeWork FindDecodeWork(const AttentionParams& p, int split) {
  const int2 entry = __ldg(reinterpret_cast<const int2*>(p.decode_splits) + split);
  DecodeWork work = {};
  work.row = -1;
  if (entry.x < 0) return work;
  const int4* decode_row = reinterpret_cast<const int4*>(p.decode_rows) + 2 * int64_t{entry.x};
  const int4 row = __ldg(decode_row);
  const int4 keys = __ldg(decode_row + 1);
  const VisibleKeys seen = VisibleKeys::Of(p, row.y, keys.x);
  const int first_key = entry.y * static_cast<int>(kGranule);
  work.keys.first_block = row.z;
  work.keys.begin = max(seen.first, first_key);
  work.keys.end =
      min(seen.first + static_cast<int>(seen.count), first_key + static_cast<int>(kGranule));
  work.row = row.x;
  work.position = row.y;
  work.partial = row.w + entry.y - keys.y;
  work.granule = entry.y;
  work.begins = entry.y == keys.y;
  return work;
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_PARTIAL_CUH_
