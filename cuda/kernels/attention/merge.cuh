// SPDX-License-Identifier: Apache-2.0
//
// The granule states of one (decode row, query head), merged, normalised (with the sink) and
// written out.
//
// Grid: decode rows x query heads, divided by kMergeWarps if a warp takes each (short rows), or not
// if a block does (long ones).
//
// Block: kMergeThreads; lane l holds dimensions l, l + 32, ...
//
// Shared memory: a block's sums.
//
// Bytes: each state once, the output once.
//
// The order of the sums follows from the granules' absolute numbers and is the same either way: sum
// g % kMergeWarps takes granule g, from left to right, and the sums are added up in their order.
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
  static constexpr int kValues = kDims / 32;  // of a lane

  const AttentionParams& p;
  int lane;
  int head;
  int row;
  int first_partial;
  int first_granule;
  int num_granules;
  float max;

  __device__ Merge(const AttentionParams& params, uint32_t index)
      : p(params), lane(threadIdx.x & 31) {
    const uint32_t decode_row = index / p.num_heads;
    head = static_cast<int>(index - decode_row * p.num_heads);
    const int4* entry = reinterpret_cast<const int4*>(p.decode_rows) + 2 * int64_t{decode_row};
    const int4 first = __ldg(entry);
    const int4 second = __ldg(entry + 1);
    row = first.x;
    first_partial = first.w;
    first_granule = second.y;
    num_granules = second.z;  // 0: an entry that only fills up the table
    max = MinusInfinity();
    for (int g = lane; g < num_granules; g += 32)
      max = fmaxf(max, PartialStats(p, first_partial + g, head)[0]);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) max = fmaxf(max, __shfl_xor_sync(~0u, max, step));
  }

  // The weight of granule g (counted from the row's first), relative to the largest.
  __device__ float Weight(int g) const {
    const float origin = max == MinusInfinity() ? 0.0f : max;
    return Exp2((PartialStats(p, first_partial + g, head)[0] - origin) * kLog2E);
  }
  __device__ void Load(int g, float (&values)[kValues]) const {
    const float* sums = PartialSum(p, first_partial + g, head);
#pragma unroll
    for (int v = 0; v < kValues; ++v) {
      const uint32_t dim = lane + v * 32;
      values[v] = dim < p.head_size ? sums[dim] : 0.0f;
    }
  }
  __device__ void Store(const float (&values)[kValues], float total) const {
    const int kv_head = static_cast<int>(Divide(head, p.by_group_size));
    const float factor = Normaliser(p, head, kv_head, max, total);
    const uint64_t out = RowAddress(p.out, row, head);
#pragma unroll
    for (int v = 0; v < kValues; ++v) {
      const uint32_t dim = lane + v * 32;
      if (dim < p.head_size)
        StoreElement(p.out_type, out + int64_t{dim} * ElementBytes(p.out_type), values[v] * factor);
    }
    if (lane == 0) StoreLse(p, row, head, max, total);
  }

  // A warp takes all granules: kMergeWarps of them at a time, each to its own sum.
  __device__ void OfWarp() const {
    float totals[kMergeWarps] = {};
    float sums[kMergeWarps][kValues] = {};
    for (int base = -(first_granule % kMergeWarps); base < num_granules; base += kMergeWarps) {
      float values[kMergeWarps][kValues];
      float weights[kMergeWarps];
      float added[kMergeWarps];
#pragma unroll
      for (int i = 0; i < kMergeWarps; ++i) {
        const int g = min(max_of(base + i, 0), num_granules - 1);
        Load(g, values[i]);
        weights[i] = Weight(g);
        added[i] = PartialStats(p, first_partial + g, head)[1];
      }
#pragma unroll
      for (int i = 0; i < kMergeWarps; ++i) {
        if (base + i < 0 || base + i >= num_granules) continue;
        totals[i] = fmaf(weights[i], added[i], totals[i]);
#pragma unroll
        for (int v = 0; v < kValues; ++v) sums[i][v] = fmaf(weights[i], values[i][v], sums[i][v]);
      }
    }
#pragma unroll
    for (int i = 1; i < kMergeWarps; ++i) {
      totals[0] += totals[i];
#pragma unroll
      for (int v = 0; v < kValues; ++v) sums[0][v] += sums[i][v];
    }
    Store(sums[0], totals[0]);
  }

  // A block takes them, warp i the i-th sum.
  __device__ void OfBlock() const {
    constexpr int kAhead = 8;
    __shared__ float shared_sums[kMergeWarps][kDims];
    __shared__ float shared_totals[kMergeWarps];
    const int warp = threadIdx.x / 32;
    float total = 0.0f;
    float sums[kValues] = {};
    const int start = (warp - first_granule % kMergeWarps + kMergeWarps) % kMergeWarps;
    for (int base = start; base < num_granules; base += kAhead * kMergeWarps) {
      float values[kAhead][kValues];
      float weights[kAhead];
      float added[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int g = min(base + i * kMergeWarps, num_granules - 1);
        Load(g, values[i]);
        weights[i] = Weight(g);
        added[i] = PartialStats(p, first_partial + g, head)[1];
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (base + i * kMergeWarps >= num_granules) break;
        total = fmaf(weights[i], added[i], total);
#pragma unroll
        for (int v = 0; v < kValues; ++v) sums[v] = fmaf(weights[i], values[i][v], sums[v]);
      }
    }
    if (lane == 0) shared_totals[warp] = total;
#pragma unroll
    for (int v = 0; v < kValues; ++v) shared_sums[warp][lane + v * 32] = sums[v];
    __syncthreads();
    if (warp != 0) return;
    total = shared_totals[0];
#pragma unroll
    for (int i = 1; i < kMergeWarps; ++i) total += shared_totals[i];
#pragma unroll
    for (int v = 0; v < kValues; ++v) {
      sums[v] = shared_sums[0][lane + v * 32];
#pragma unroll
      for (int i = 1; i < kMergeWarps; ++i) sums[v] += shared_sums[i][lane + v * 32];
    }
    Store(sums, total);
  }

  __device__ static int max_of(int a, int b) { return a > b ? a : b; }
};

// `by_warps`: a warp takes each (row, head).
template <int kDims>
__global__ void __launch_bounds__(kMergeThreads)
    MergeKernel(const __grid_constant__ AttentionParams params, bool by_warps) {
#if __CUDA_ARCH__ >= 900
  // The states are there when the decode kernel, which this one may have overtaken, is done.
  cudaGridDependencySynchronize();
#endif
  if (by_warps) {
    const uint32_t index = blockIdx.x * kMergeWarps + threadIdx.x / 32;
    if (index >= params.num_work * params.num_heads) return;
    const Merge<kDims> merge(params, index);
    if (merge.num_granules > 0) merge.OfWarp();
  } else {
    const Merge<kDims> merge(params, blockIdx.x);
    if (merge.num_granules > 0) merge.OfBlock();
  }
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_MERGE_CUH_
