// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "cuda/kernels/element.cuh"
#include "cuda/kernels/quantize/quantize.h"

namespace weft::cuda {
namespace {

template <typename Vector>
__global__ void __launch_bounds__(kGroupThreads)
    QuantizeFp8Kernel(const __grid_constant__ QuantizeFp8Params p) {
  constexpr int kInFlight = kQuantizeVectorsInFlight;
  constexpr int kCount = Vector::kCount;
  const QuantizeItem item = ItemOf(p, PlaceOfThread(blockIdx.x, threadIdx.x, p.lanes_log2));
  if (item.row >= p.rows) return;
  const ElementType type = Vector::TypeOr(p.source_type);
  const uint64_t from = PlaceOf(p.source, item.row, item.head);
  const uint64_t to = PlaceOf(p.destination, item.row, item.head);
  const uint32_t lanes = 1u << p.lanes_log2;
  typename Vector::Raw raw[kInFlight];
#pragma unroll
  for (int i = 0; i < kInFlight; ++i) {
    const uint32_t vector = item.first + i * lanes;
    if (vector >= item.end) continue;
    raw[i] = Vector::Load(type, from + uint64_t{vector} * (kCount * ElementBytes(type)));
  }
  const Quotient quotient = QuotientOfHead(p, item.head);
#pragma unroll
  for (int i = 0; i < kInFlight; ++i) {
    const uint32_t vector = item.first + i * lanes;
    if (vector >= item.end) continue;
    float values[kCount];
    Vector::Widen(raw[i], values);
    DivideAll(quotient, type, values);
    Vector::StoreFp8(p.destination_type, to + uint64_t{vector} * kCount, values);
  }
}

using Kernel = void (*)(QuantizeFp8Params);

Kernel KernelOf(bool whole, ElementType type) {
  if (!whole) return QuantizeFp8Kernel<OneElement>;
  if (type == ElementType::kF16) return QuantizeFp8Kernel<WholeVector<ElementType::kF16>>;
  if (type == ElementType::kBF16) return QuantizeFp8Kernel<WholeVector<ElementType::kBF16>>;
  return QuantizeFp8Kernel<WholeVector<ElementType::kF32>>;
}

}  // namespace

cudaError_t LaunchQuantizeFp8(const QuantizeFp8Params& params, cudaStream_t stream) {
  for (int64_t first = 0; first < params.rows;) {
    const QuantizeFp8Params some = SkipRows(params, first);
    const uint32_t items = static_cast<uint32_t>(some.rows) * some.heads * some.parts;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(BlocksOfItems(items, some.lanes_log2));
    config.blockDim = dim3(kGroupThreads);
    config.stream = stream;
    const cudaError_t error =
        cudaLaunchKernelEx(&config, KernelOf(some.whole, some.source_type), some);
    if (error != cudaSuccess) return error;
    first += some.rows;
  }
  return cudaSuccess;
}

cudaError_t LoadQuantizeFp8() {
  for (bool whole : {false, true}) {
    for (ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBF16}) {
      cudaFuncAttributes attributes;
      const cudaError_t error = cudaFuncGetAttributes(&attributes, KernelOf(whole, type));
      if (error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

}  // namespace weft::cuda
