// SPDX-License-Identifier: Apache-2.0
//
// The granule states of one (decode row, query head), merged, normalised (with the sink) and
// written out.
//
// Grid: decode rows x query heads, divided by kMergeWarps if a warp takes each (short rows), or not
// if a block does (long ones).
//
// Block: kMergeThreads; a lane holds vectors of adjacent dimensions.
//
// Shared memory: a block's sums.
//
// Bytes: each state once, the output once.
//
// The order of the sums follows from the granules' absolute numbers and is the same either way: a
// group's granules are folded from left to right (partial.cuh), sum j % kMergeWarps takes group j,
// from left to right, and the sums are added up in their order.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_MERGE_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_MERGE_CUH_

#include <cstdint>

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/output.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/partial.cuh"

namespace weft::cuda {

template <int kDims>
struct Merge {
  static constexpr int kVector = kDims / 32 < 4 ? kDims / 32 : 4;  // adjacent dimensions of a lane
  static constexpr int kVectors = kDims / 32 / kVector;            // 32 * kVector apart
  static constexpr int kValues = kVector * kVectors;
  static constexpr int kAhead = 4;         // states whose loads are under way together
  static constexpr int kGroupsAtOnce = 8;  // a lane looks at the statistics of one state
  static_assert(kGroupsAtOnce * kFoldedGranules == 32 && kGroupsAtOnce == kMergeWarps);

  const AttentionParams& p;
  int lane;
  int head;
  int row;
  int first_partial;
  int first_granule;
  int num_granules;
  bool in_vectors;
  float max;

  // A sum of groups, or a group's state.
  struct State {
    float total = 0.0f;
    float values[kValues] = {};
  };

  __device__ Merge(const AttentionParams& params, int decode_row, int query_head)
      : p(params), lane(threadIdx.x & 31), head(query_head) {
    const int4* entry = reinterpret_cast<const int4*>(p.decode_rows) + 2 * int64_t{decode_row};
    const int4 first = __ldg(entry);
    const int4 second = __ldg(entry + 1);
    row = first.x;
    first_partial = first.w;
    first_granule = second.y;
    num_granules = second.z;  // 0: an entry that only fills up the table
    in_vectors = p.head_size % kVector == 0 && p.partial_sums % (kVector * 4) == 0;
    max = MinusInfinity();
  }

  // States were written by other multiprocessors a moment ago, and are read once: past the first
  // cache.
  __device__ float2 LoadStats(int g) const {
    const float* stats = PartialStats(p, first_partial + g, head);
    return {__ldcg(stats), __ldcg(stats + 1)};
  }

  __device__ uint32_t DimOf(int v) const { return (v * 32 + lane) * kVector; }

  __device__ void Load(int g, float (&values)[kValues]) const {
    const float* sums = PartialSum(p, first_partial + g, head);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const uint32_t dim = DimOf(v);
      float* to = values + v * kVector;
      if (in_vectors && dim < p.head_size) {
        if constexpr (kVector == 4) {
          const float4 four = __ldcg(reinterpret_cast<const float4*>(sums + dim));
          to[0] = four.x;
          to[1] = four.y;
          to[2] = four.z;
          to[3] = four.w;
        } else {
          const float2 two = __ldcg(reinterpret_cast<const float2*>(sums + dim));
          to[0] = two.x;
          to[1] = two.y;
        }
        continue;
      }
#pragma unroll
      for (int i = 0; i < kVector; ++i)
        to[i] = dim + i < p.head_size ? __ldcg(sums + dim + i) : 0.0f;
    }
  }

  __device__ void Store(const State& state) const {
    const int kv_head = static_cast<int>(Divide(head, p.by_group_size));
    const float factor = Normaliser(p, head, kv_head, max, state.total);
    const uint64_t out = RowAddress(p.out, row, head);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < kVector; i += 2) {
        const float* pair = state.values + v * kVector + i;
        StorePair(p, out, DimOf(v) + i, pair[0] * factor, pair[1] * factor);
      }
    }
    if (lane == 0) StoreLse(p, row, head, max, state.total);
  }

  // What kGroupsAtOnce groups have, one state to a lane.
  struct Look {
    int granule;  // counted from the row's first
    float max;
    float total;
  };
  __device__ Look LookAt(int first, int stride, int end) const {
    Look look = {0, MinusInfinity(), kAbsent};
    const int group = first + lane / kFoldedGranules * stride;
    look.granule = group * kFoldedGranules + lane % kFoldedGranules - first_granule;
    if (group < end && look.granule >= 0 && look.granule < num_granules) {
      const float2 stats = LoadStats(look.granule);
      look.max = stats.x;
      look.total = stats.y;
    }
    return look;
  }

  // Adds the groups to `sum`: each as a product rounded on its own, or (kChain) rounded together
  // with the sum. Each lane finds the factors of its own state; the loop is kept short, since it is
  // the way from the memory of instructions that a short kernel waits for.
  template <bool kChain>
  __device__ void Add(const Look& look, State& sum) const {
    static_assert(kFoldedGranules == 4);
    // The largest logit of the group's states up to this lane's, and up to the one before.
    float up_to = look.max;
    float other = __shfl_up_sync(~0u, up_to, 1, kFoldedGranules);
    if (lane % kFoldedGranules >= 1) up_to = fmaxf(up_to, other);
    other = __shfl_up_sync(~0u, up_to, 2, kFoldedGranules);
    if (lane % kFoldedGranules >= 2) up_to = fmaxf(up_to, other);
    float before = __shfl_up_sync(~0u, up_to, 1, kFoldedGranules);
    if (lane % kFoldedGranules == 0) before = MinusInfinity();
    const FoldStep fold = FoldStep::Of(before, up_to, look.max, kLog2E);
    const float weight = Exp2((up_to - Origin(max)) * kLog2E);

    uint32_t there = __ballot_sync(~0u, !IsAbsent(look.total));
    State group;
    while (there != 0) {
      int from[kAhead];
      float next[kAhead][kValues];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        from[k] = __ffs(static_cast<int>(there)) - 1;  // -1: none
        there &= there - 1;
        if (from[k] >= 0) Load(__shfl_sync(~0u, look.granule, from[k]), next[k]);
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (from[k] < 0) break;
        const FoldStep step = {0.0f, __shfl_sync(~0u, fold.keep, from[k]),
                               __shfl_sync(~0u, fold.take, from[k])};
        group.total = step(group.total, __shfl_sync(~0u, look.total, from[k]));
#pragma unroll
        for (int v = 0; v < kValues; ++v) group.values[v] = step(group.values[v], next[k][v]);
        const int after = k + 1 < kAhead ? from[k + 1] : __ffs(static_cast<int>(there)) - 1;
        if (after >= 0 && after / kFoldedGranules == from[k] / kFoldedGranules) continue;
        const float of_group = __shfl_sync(~0u, weight, from[k]);
        sum.total = kChain ? fmaf(of_group, group.total, sum.total)
                           : sum.total + fmaf(of_group, group.total, 0.0f);
#pragma unroll
        for (int v = 0; v < kValues; ++v) {
          sum.values[v] = kChain ? fmaf(of_group, group.values[v], sum.values[v])
                                 : sum.values[v] + fmaf(of_group, group.values[v], 0.0f);
        }
        group = {};
      }
    }
  }
  // Adds groups first, first + stride, ... below `end`.
  __device__ void AddGroups(int first, int stride, int end, State& sum) const {
    for (; first < end; first += kGroupsAtOnce * stride) Add<true>(LookAt(first, stride, end), sum);
  }

  __device__ int FirstGroup() const { return first_granule / kFoldedGranules; }
  __device__ int EndGroup() const {
    return (first_granule + num_granules - 1) / kFoldedGranules + 1;
  }

  // A warp takes all groups. Where no sum has more than one group it can take them as they come.
  __device__ void OfWarp() {
    const int base = FirstGroup() / kMergeWarps * kMergeWarps;
    const int end = EndGroup();
    State sum;
    if (end - base <= kMergeWarps) {
      const Look look = LookAt(base, 1, end);
      max = WarpMax(look.max);
      Add<false>(look, sum);
    } else {
#pragma unroll 4
      for (int g = lane; g < num_granules; g += 32) max = fmaxf(max, LoadStats(g).x);
      max = WarpMax(max);
#pragma unroll 1
      for (int i = 0; i < kMergeWarps; ++i) {
        State of_groups;
        AddGroups(base + i, kMergeWarps, end, of_groups);
        sum.total += of_groups.total;
#pragma unroll
        for (int v = 0; v < kValues; ++v) sum.values[v] += of_groups.values[v];
      }
    }
    Store(sum);
  }

  // A block takes them, warp i the i-th sum.
  __device__ void OfBlock() {
    __shared__ float shared_max[kMergeWarps];
    __shared__ float shared_values[kMergeWarps][kValues][32];
    __shared__ float shared_totals[kMergeWarps];
    const int warp = threadIdx.x / 32;
    for (int g = threadIdx.x; g < num_granules; g += kMergeThreads)
      max = fmaxf(max, LoadStats(g).x);
    max = WarpMax(max);
    if (lane == 0) shared_max[warp] = max;
    __syncthreads();
    max = WarpMax(shared_max[lane % kMergeWarps]);
    State sum;
    AddGroups(FirstGroup() / kMergeWarps * kMergeWarps + warp, kMergeWarps, EndGroup(), sum);
    if (lane == 0) shared_totals[warp] = sum.total;
#pragma unroll
    for (int v = 0; v < kValues; ++v) shared_values[warp][v][lane] = sum.values[v];
    __syncthreads();
    if (warp != 0) return;
#pragma unroll
    for (int i = 1; i < kMergeWarps; ++i) {
      sum.total += shared_totals[i];
#pragma unroll
      for (int v = 0; v < kValues; ++v) sum.values[v] += shared_values[i][v][lane];
    }
    Store(sum);
  }
};

// `by_warps`: a warp takes each (row, head).
template <int kDims>
__global__ void __launch_bounds__(kMergeThreads)
    MergeKernel(const __grid_constant__ AttentionParams params, bool by_warps) {
  const uint32_t index = by_warps ? blockIdx.x * kMergeWarps + threadIdx.x / 32 : blockIdx.x;
  if (index >= params.num_work * params.num_heads) return;
  const uint32_t decode_row = index / params.num_heads;
  Merge<kDims> merge(params, static_cast<int>(decode_row),
                     static_cast<int>(index - decode_row * params.num_heads));
  if (merge.num_granules == 0) return;
#if __CUDA_ARCH__ >= 900
  // The states are there when the decode kernel, which this one may have overtaken, is done.
  cudaGridDependencySynchronize();
#endif
  if (by_warps) {
    merge.OfWarp();
  } else {
    merge.OfBlock();
  }
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_MERGE_CUH_
