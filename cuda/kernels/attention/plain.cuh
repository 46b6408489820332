// SPDX-License-Identifier: Apache-2.0
//
// Attention for f32 queries, in f32 throughout: tensor cores would round them to 11 bits. One
// kernel for prefill tiles and for granules of decode rows.
//
// Grid: (tiles or splits) x kv heads x chunks of kPlainRows rows.
//
// Block: kPlainThreads; a warp holds kPlainRowsOfWarp query rows.
//
// Shared memory: the queries, and one tile of keys (rows padded by one word, since lanes read a
// column) and values, widened to f32.
//
// Bytes: keys and values once for each block.
//
// Loop: rows hold the state of all tiles before n.
//
// Long sums are taken in two levels, a granule's keys and then the granules: in f32 the rounding of
// small weights into a large sum is seen.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_PLAIN_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_PLAIN_CUH_

#include <cstdint>

#include "core/plan_tables.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/output.cuh"
#include "cuda/kernels/attention/pages.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/partial.cuh"

namespace weft::cuda {

// A row's state in a warp: lane l holds dimensions l, l + 32, ...
template <int kDims>
struct PlainRow {
  float max = MinusInfinity();  // natural
  float sum = 0.0f;             // of this lane's keys, of the granule under way
  float folded_sum = 0.0f;      // of the granules before
  float out[kDims / 32] = {};
  float folded_out[kDims / 32] = {};

  __device__ void Rescale(float factor) {
    if (factor == 1.0f) return;
    sum *= factor;
    folded_sum *= factor;
#pragma unroll
    for (int i = 0; i < kDims / 32; ++i) {
      out[i] *= factor;
      folded_out[i] *= factor;
    }
  }
  // Folding twice changes no bit.
  __device__ void Fold() {
    folded_sum += sum;
    sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kDims / 32; ++i) {
      folded_out[i] += out[i];
      out[i] = 0.0f;
    }
  }
};

template <int kDims>
class Plain {
  static constexpr int kWarps = kPlainThreads / 32;
  static constexpr int kRowsOfWarp = kPlainRowsOfWarp;

 public:
  __device__ Plain(const AttentionParams& params, float* shared)
      : p(params),
        lane_(threadIdx.x & 31),
        warp_(threadIdx.x / 32),
        query_(shared),
        keys_(shared + kPlainRows * kDims),
        values_(keys_ + kPlainKeys * (kDims + 1)) {}

  __device__ void RunTile() {
    const uint32_t heads_and_chunks = p.num_kv_heads * p.chunks;
    const uint32_t index = blockIdx.x / heads_and_chunks;
    const uint32_t rest = blockIdx.x - index * heads_and_chunks;
    const uint32_t chunk = rest / p.num_kv_heads;
    kv_head_ = static_cast<int>(rest - chunk * p.num_kv_heads);
    const int4* entry = reinterpret_cast<const int4*>(p.tiles) + 2 * int64_t{index};
    const int4 rows = __ldg(entry);
    const int4 keys = __ldg(entry + 1);
    const int first = static_cast<int>(chunk) * kPlainRows;
    num_rows_ = min(rows.y * static_cast<int>(p.group_size) - first, kPlainRows);
    if (num_rows_ <= 0) return;
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const int local = warp_ + r * kWarps;
      const auto flat = static_cast<uint32_t>(first + min(local, num_rows_ - 1));
      const auto token = static_cast<int>(Divide(flat, p.by_group_size));
      row_[r] = rows.x + token;
      head_[r] = kv_head_ * p.group_size + flat - token * p.group_size;
      position_[r] = rows.z + token;
      seen_[r] = VisibleKeys::Of(p, position_[r], keys.x);
      if (rows.w < 0 && local < num_rows_) StoreEmptyRow(p, row_[r], head_[r], lane_, 32);
    }
    if (rows.w < 0) return;
    first_block_ = rows.w;
    const VisibleKeys last = VisibleKeys::Of(p, rows.z + rows.y - 1, keys.x);
    Walk(VisibleKeys::Of(p, rows.z, keys.x).first, last.first + static_cast<int>(last.count));
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      if (warp_ + r * kWarps < num_rows_) StoreRow(r);
    }
  }

  __device__ void RunSplit() {
    const DecodePlace place = FindDecodePlace(p, kPlainRows);
    const DecodeWork work = FindDecodeWork(p, place.first_split);
    if (work.keys.begin >= work.keys.end) return;
    kv_head_ = place.kv_head;
    num_rows_ = place.num_heads;
    first_block_ = work.keys.first_block;
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      row_[r] = work.row;
      head_[r] = place.first_head + min(warp_ + r * kWarps, num_rows_ - 1);
      position_[r] = work.position;
      seen_[r] = {work.keys.begin, static_cast<uint32_t>(work.keys.end - work.keys.begin)};
    }
    Walk(work.keys.begin, work.keys.end);
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      if (warp_ + r * kWarps >= num_rows_) continue;
      float* sums = PartialSum(p, work.partial, head_[r]);
#pragma unroll
      for (int i = 0; i < kDims / 32; ++i) {
        const uint32_t dim = i * 32 + lane_;
        if (dim < p.head_size) sums[dim] = state_[r].folded_out[i];
      }
      const float sum = WarpSum(state_[r].folded_sum);
      if (lane_ == 0) StoreStats(p, work.partial, head_[r], state_[r].max, sum);
    }
  }

 private:
  __device__ void StoreRow(int r) {
    const PlainRow<kDims>& state = state_[r];
    const float sum = WarpSum(state.folded_sum);
    const float factor = Normaliser(p, head_[r], kv_head_, state.max, sum);
    const uint64_t out = RowAddress(p.out, row_[r], head_[r]);
#pragma unroll
    for (int i = 0; i < kDims / 32; ++i) {
      const uint32_t dim = i * 32 + lane_;
      if (dim < p.head_size)
        StoreElement(p.out_type, out + int64_t{dim} * ElementBytes(p.out_type),
                     state.folded_out[i] * factor);
    }
    if (lane_ == 0) StoreLse(p, row_[r], head_[r], state.max, sum);
  }

  __device__ void LoadQueries() {
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const uint64_t from = RowAddress(p.query, row_[r], head_[r]);
#pragma unroll 1
      for (int dim = lane_; dim < kDims; dim += 32) {
        const bool there = dim < static_cast<int>(p.head_size);
        query_[(warp_ + r * kWarps) * kDims + dim] =
            there ? LoadElement(p.query_type, from + dim * ElementBytes(p.query_type)) : 0.0f;
      }
    }
  }

  // Keys [first, first + kPlainKeys), those outside [begin, end) as 0.
  __device__ void LoadTile(int first, int begin, int end) {
    const uint32_t bytes = ElementBytes(p.kv_type);
    for (int row = warp_; row < kPlainKeys; row += kWarps) {
      const int key = first + row;
      const bool seen = key >= begin && key < end;
      TokenAddress at = {0, 0};
      if (seen) at = Locate(p, LoadBlockId(p, first_block_, key), key, kv_head_);
#pragma unroll 2
      for (int dim = lane_; dim < kDims; dim += 32) {
        const bool there = seen && dim < static_cast<int>(p.head_size);
        keys_[row * (kDims + 1) + dim] = there ? LoadDim(p.key, at.key, dim, bytes) : 0.0f;
        values_[row * kDims + dim] = there ? LoadDim(p.value, at.value, dim, bytes) : 0.0f;
      }
    }
  }
  __device__ float LoadDim(const CacheSide& side, uint64_t row, uint32_t dim,
                           uint32_t bytes) const {
    const uint32_t run = dim / side.run;
    return LoadElement(p.kv_type,
                       row + run * side.run_stride + int64_t{dim - run * side.run} * bytes);
  }

  __device__ void Walk(int begin, int end) {
    scale_ = LogitScale::Of(p, kv_head_);
    LoadQueries();
    for (int n = begin / kPlainKeys; n <= (end - 1) / kPlainKeys; ++n) {
      __syncthreads();
      LoadTile(n * kPlainKeys, begin, end);
      __syncthreads();
#pragma unroll
      for (int r = 0; r < kRowsOfWarp; ++r) Step(n * kPlainKeys, r);
      if ((n + 1) * kPlainKeys % kGranule == 0) {
#pragma unroll
        for (int r = 0; r < kRowsOfWarp; ++r) state_[r].Fold();
      }
    }
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) state_[r].Fold();
  }

  __device__ void Step(int first_key, int r) {
    PlainRow<kDims>& state = state_[r];
    const float* query = query_ + (warp_ + r * kWarps) * kDims;
    const float* key = keys_ + lane_ * (kDims + 1);
    float product = 0.0f;
#pragma unroll 16
    for (int d = 0; d < kDims; ++d) product = fmaf(query[d], key[d], product);
    if (p.softcap != 0.0f) {
      float products[] = {product};
      scale_.Cap(p, products);
      product = products[0];
    }
    if (p.alibi_slopes != 0) {
      product = scale_.Bias(product, LoadOptional(p.alibi_slopes, head_[r], 0.0f),
                            static_cast<float>(first_key + lane_ - position_[r]));
    }
    float logit = product * scale_.scale;
    const bool visible = seen_[r].Has(first_key + lane_);
    logit = visible ? logit : MinusInfinity();
    const float now = fmaxf(state.max, WarpMax(logit));
    const float origin = Origin(now);
    state.Rescale(now == state.max ? 1.0f : Exp2((state.max - origin) * kLog2E));
    state.max = now;
    const float weight = Exp2((logit - origin) * kLog2E);
    state.sum += visible ? weight : 0.0f;
    // Values that the row does not see may be NaN, also where another row's are fine.
#pragma unroll 4
    for (int j = 0; j < kPlainKeys; ++j) {
      if (!seen_[r].Has(first_key + j)) continue;
      const float of_key = __shfl_sync(~0u, weight, j);
#pragma unroll
      for (int i = 0; i < kDims / 32; ++i)
        state.out[i] = fmaf(of_key, values_[j * kDims + i * 32 + lane_], state.out[i]);
    }
  }

  const AttentionParams& p;
  int lane_;
  int warp_;
  float* query_;
  float* keys_;
  float* values_;
  int kv_head_;
  int num_rows_;
  int first_block_;
  int row_[kRowsOfWarp];
  int head_[kRowsOfWarp];
  int position_[kRowsOfWarp];
  VisibleKeys seen_[kRowsOfWarp];
  LogitScale scale_;
  PlainRow<kDims> state_[kRowsOfWarp];
};

// `decode`: the work is splits, not tiles.
template <int kDims>
__global__ void __launch_bounds__(kPlainThreads)
    PlainKernel(const __grid_constant__ AttentionParams params, bool decode) {
  extern __shared__ __align__(128) float plain_shared[];
  Plain<kDims> plain(params, plain_shared);
  if (decode) {
    plain.RunSplit();
  } else {
    plain.RunTile();
  }
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_PLAIN_CUH_
