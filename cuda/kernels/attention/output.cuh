// SPDX-License-Identifier: Apache-2.0
//
// A finished row: normalisation, with a sink; output and log-sum-exp.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_OUTPUT_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_OUTPUT_CUH_

#include <cstdint>

#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/element.cuh"

namespace weft::cuda {

__device__ inline uint64_t RowAddress(const RowTensor& tensor, int64_t row, int64_t head) {
  return tensor.address + row * tensor.row_stride + head * tensor.head_stride;
}

// What a row's weighted sum of values is multiplied with to be stored. `max` is a natural logit. A
// row that sees nothing stays 0, sink or not; a sink of -infinity changes no bit.
__device__ inline float Normaliser(const AttentionParams& p, int head, int kv_head, float max,
                                   float sum) {
  if (sum == 0.0f) return 0.0f;
  const float unit = LoadOptional(p.v_scales, kv_head, 1.0f) * p.inverse_out_scale;
  if (p.sinks == 0) return unit / sum;
  const float sink = LoadOptional(p.sinks, head, 0.0f);
  const float larger = fmaxf(max, sink);
  const float keep = larger == max ? 1.0f : Exp2((max - larger) * kLog2E);
  return unit * keep / fmaf(sum, keep, Exp2((sink - larger) * kLog2E));
}

// Natural, without the sink.
__device__ inline void StoreLse(const AttentionParams& p, int row, int head, float max, float sum) {
  if (p.lse.address == 0) return;
  const float lse = sum == 0.0f ? MinusInfinity() : max + logf(sum);
  *reinterpret_cast<float*>(RowAddress(p.lse, row, head)) = lse;
}

// Two adjacent dimensions of a row of the output, from an even one on, as far as the head goes.
__device__ inline void StorePair(const AttentionParams& p, uint64_t row, uint32_t dim, float low,
                                 float high) {
  if (dim >= p.head_size) return;
  if (p.out_in_words && p.head_size % 2 == 0) {
    if (p.out_type == ElementType::kF16) {
      *reinterpret_cast<uint32_t*>(row + dim * 2) = PackPair<__half>(low, high);
      return;
    }
    if (p.out_type == ElementType::kBF16) {
      *reinterpret_cast<uint32_t*>(row + dim * 2) = PackPair<__nv_bfloat16>(low, high);
      return;
    }
  }
  const uint32_t bytes = ElementBytes(p.out_type);
  StoreElement(p.out_type, row + dim * bytes, low);
  if (dim + 1 < p.head_size) StoreElement(p.out_type, row + (dim + 1) * bytes, high);
}

// What a lane holds of a finished row: pairs of dimensions, as fragments of Op have them, times
// `factor`. Nothing past the head's end.
template <typename Op, int kTiles>
__device__ inline void StoreRow(const AttentionParams& p, uint64_t address,
                                const float (&sums)[kTiles][4], int half, float factor) {
  const auto each = [&](auto&& store) {
#pragma unroll
    for (int q = 0; q < kTiles / 2; ++q) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float2 pair = Op::ValuePair(sums[2 * q], sums[2 * q + 1], i, half);
        const uint32_t dim = Op::ValueDim(q, i);
        if (dim < p.head_size) store(dim, pair.x * factor, pair.y * factor);
      }
    }
  };
  const bool words = p.out_in_words && p.head_size % 2 == 0;
  if (words && p.out_type == ElementType::kF16) {
    each([&](uint32_t dim, float low, float high) {
      *reinterpret_cast<uint32_t*>(address + dim * 2) = PackPair<__half>(low, high);
    });
  } else if (words && p.out_type == ElementType::kBF16) {
    each([&](uint32_t dim, float low, float high) {
      *reinterpret_cast<uint32_t*>(address + dim * 2) = PackPair<__nv_bfloat16>(low, high);
    });
  } else {
    const uint32_t bytes = ElementBytes(p.out_type);
    each([&](uint32_t dim, float low, float high) {
      StoreElement(p.out_type, address + dim * bytes, low);
      if (dim + 1 < p.head_size) StoreElement(p.out_type, address + (dim + 1) * bytes, high);
    });
  }
}

// Output 0, log-sum-exp -infinity.
__device__ inline void StoreEmptyRow(const AttentionParams& p, int row, int head, int lane,
                                     int lanes) {
  const uint64_t address = RowAddress(p.out, row, head);
  for (uint32_t dim = lane; dim < p.head_size; dim += lanes)
    StoreElement(p.out_type, address + int64_t{dim} * ElementBytes(p.out_type), 0.0f);
  if (lane == 0) StoreLse(p, row, head, 0.0f, 0.0f);
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_OUTPUT_CUH_
