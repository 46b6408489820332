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

// What a row's weighted sum of values is multiplied with to be stored. `max` is in units of log2. A
// row that sees nothing stays 0, sink or not; a sink of -infinity changes no bit.
__device__ inline float Normaliser(const AttentionParams& p, int head, int kv_head, float max,
                                   float sum) {
  if (sum == 0.0f) return 0.0f;
  const float unit = LoadOptional(p.v_scales, kv_head, 1.0f) * p.inverse_out_scale;
  if (p.sinks == 0) return unit / sum;
  const float sink = LoadOptional(p.sinks, head, 0.0f) * kLog2E;
  const float larger = fmaxf(max, sink);
  const float keep = larger == max ? 1.0f : Exp2(max - larger);
  return unit * keep / fmaf(sum, keep, Exp2(sink - larger));
}

// Natural, without the sink.
__device__ inline void StoreLse(const AttentionParams& p, int row, int head, float max, float sum) {
  if (p.lse.address == 0) return;
  const float lse = sum == 0.0f ? MinusInfinity() : fmaf(max, kLn2, logf(sum));
  *reinterpret_cast<float*>(RowAddress(p.lse, row, head)) = lse;
}

// Dimensions dim and dim + 1 of a row at `address`; dim is even. Nothing past the head's end.
__device__ inline void StorePair(const AttentionParams& p, uint64_t address, uint32_t dim,
                                 float low, float high, bool words) {
  const uint32_t bytes = ElementBytes(p.out_type);
  const uint64_t at = address + int64_t{dim} * bytes;
  if (dim + 1 < p.head_size && words && p.out_type == ElementType::kF16) {
    *reinterpret_cast<uint32_t*>(at) = PackPair<__half>(low, high);
  } else if (dim + 1 < p.head_size && words && p.out_type == ElementType::kBF16) {
    *reinterpret_cast<uint32_t*>(at) = PackPair<__nv_bfloat16>(low, high);
  } else {
    if (dim < p.head_size) StoreElement(p.out_type, at, low);
    if (dim + 1 < p.head_size) StoreElement(p.out_type, at + bytes, high);
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
