// SPDX-License-Identifier: Apache-2.0
//
// The granule states of one (decode row, query head), merged, normalised (with the sink) and
// written out.
//
// Grid: decode rows x query heads. Block: kMergeThreads; kLanes threads hold the row's dimensions,
// kVector each, and kMergeThreads / kLanes such teams take turns with the granules. Shared memory:
// the teams' sums. Bytes: each state once, the output once.
// The order of the sums follows from the granules' absolute numbers: team g % kTeams takes granule
// g, from left to right, and the teams are added up in their order.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_MERGE_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_MERGE_CUH_

#include <cstdint>

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/decode.cuh"
#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/output.cuh"
#include "cuda/kernels/attention/params.h"

namespace weft::cuda {

template <int kVector>
struct Vector;
template <>
struct Vector<1> {
  using type = float;
};
template <>
struct Vector<4> {
  using type = float4;
};

// kVector dimensions in a thread; kLanes * kVector >= head_size.
template <int kVector, int kLanes>
__global__ void __launch_bounds__(kMergeThreads)
    MergeKernel(const __grid_constant__ AttentionParams p) {
  using Type = typename Vector<kVector>::type;
  constexpr int kTeams = kMergeThreads / kLanes;
  constexpr int kAhead = 8;
  __shared__ float sums[kTeams][kLanes * kVector];
  __shared__ float totals[kTeams];
  __shared__ float maxima[kMergeThreads / 32];
#if __CUDA_ARCH__ >= 900
  // The states are there when the decode kernel, which this one may have overtaken, is done.
  cudaGridDependencySynchronize();
#endif
  const uint32_t index = blockIdx.x / p.num_heads;
  const int head = static_cast<int>(blockIdx.x - index * p.num_heads);
  const int4* decode_row = reinterpret_cast<const int4*>(p.decode_rows) + 2 * int64_t{index};
  const int4 row = __ldg(decode_row);
  const int4 keys = __ldg(decode_row + 1);
  const int first_granule = keys.y;
  const int num_granules = keys.z;
  if (num_granules <= 0) return;  // an entry that only fills up the table

  float max = MinusInfinity();
  for (int g = threadIdx.x; g < num_granules; g += kMergeThreads)
    max = fmaxf(max, PartialStats(p, row.w + g, head)[0]);
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) max = fmaxf(max, __shfl_xor_sync(~0u, max, lane));
  if (threadIdx.x % 32 == 0) maxima[threadIdx.x / 32] = max;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kMergeThreads / 32; ++w) max = fmaxf(max, maxima[w]);
  const float origin = max == MinusInfinity() ? 0.0f : max;

  const int lane = threadIdx.x % kLanes;
  const int team = threadIdx.x / kLanes;
  const int dim = lane * kVector;
  const bool holds = dim < static_cast<int>(p.head_size);
  float total = 0.0f;
  float sum[kVector] = {};
  // The team's first granule, counted from the row's first.
  const int start = (team - first_granule % kTeams + kTeams) % kTeams;
  for (int base = start; base < num_granules; base += kAhead * kTeams) {
    float maxima_of[kAhead];
    float sums_of[kAhead];
    Type parts[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int g = min(base + i * kTeams, num_granules - 1);
      maxima_of[i] = PartialStats(p, row.w + g, head)[0];
      sums_of[i] = PartialStats(p, row.w + g, head)[1];
      if (holds)
        parts[i] = *reinterpret_cast<const Type*>(PartialSum(p, row.w + g, head) + dim);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (base + i * kTeams >= num_granules) break;
      const float factor = Exp2(maxima_of[i] - origin);
      total = fmaf(factor, sums_of[i], total);
      const float* part = reinterpret_cast<const float*>(&parts[i]);
#pragma unroll
      for (int v = 0; v < kVector; ++v) sum[v] = fmaf(factor, part[v], sum[v]);
    }
  }
  if (lane == 0) totals[team] = total;
#pragma unroll
  for (int v = 0; v < kVector; ++v) sums[team][dim + v] = sum[v];
  __syncthreads();

  total = totals[0];
#pragma unroll
  for (int t = 1; t < kTeams; ++t) total += totals[t];
  const int kv_head = static_cast<int>(Divide(head, p.by_group_size));
  const float factor = Normaliser(p, head, kv_head, max, total);
  const uint64_t out = RowAddress(p.out, row.x, head);
  for (uint32_t d = threadIdx.x; d < p.head_size; d += kMergeThreads) {
    float value = sums[0][d];
#pragma unroll
    for (int t = 1; t < kTeams; ++t) value += sums[t][d];
    StoreElement(p.out_type, out + int64_t{d} * ElementBytes(p.out_type), value * factor);
  }
  if (threadIdx.x == 0) StoreLse(p, row.x, head, max, total);
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_MERGE_CUH_
