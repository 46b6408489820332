// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "cuda/kernels/element.cuh"
#include "cuda/kernels/states/states.h"

namespace weft::cuda {
namespace {

struct Item {
  uint32_t row;
  uint32_t head;
  uint32_t lane;
  bool inside;
};

__device__ __forceinline__ Item ItemOfThread(const StateShape& shape) {
  const GroupPlace place = PlaceOfThread(blockIdx.x, threadIdx.x, shape.lanes_log2);
  const uint32_t row = Divide(place.item, shape.by_heads);
  return {row, place.item - row * shape.heads, place.lane, row < shape.rows};
}

// The lanes of this thread's group, which leave the kernel together or not at all.
__device__ __forceinline__ uint32_t GroupMask(int lanes_log2) {
  const uint32_t lanes = 1u << lanes_log2;
  const uint32_t first = threadIdx.x % 32u & ~(lanes - 1u);
  return (lanes == 32u ? ~0u : (1u << lanes) - 1u) << first;
}

template <typename Vector>
__global__ void __launch_bounds__(kGroupThreads)
    MergeStatesKernel(const __grid_constant__ MergeStatesParams p) {
  constexpr int kInFlight = kMergeVectorsInFlight;
  constexpr int kCount = Vector::kCount;
  const Item item = ItemOfThread(p.shape);
  if (!item.inside) return;
  const ElementType type = Vector::TypeOr(p.shape.type);
  const int64_t vector_bytes = kCount * ElementBytes(type);
  const int64_t out_bytes = kCount * ElementBytes(p.out_type);
  const uint64_t a_row = PlaceOf(p.a, item.row, item.head);
  const uint64_t b_row = PlaceOf(p.b, item.row, item.head);
  const uint64_t out_row = PlaceOf(p.out, item.row, item.head);
  const uint32_t lanes = 1u << p.shape.lanes_log2;
  const auto a_lse = LoadGlobal<float>(PlaceOf(p.a_lse, item.row, item.head));
  const auto b_lse = LoadGlobal<float>(PlaceOf(p.b_lse, item.row, item.head));
  const float sink = SinkOf(p.shape, item.head);
  MergeWeights weights;
  for (uint32_t first = item.lane; first < p.shape.vectors; first += kInFlight * lanes) {
    typename Vector::Raw a[kInFlight], b[kInFlight];
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      const uint32_t vector = first + i * lanes;
      if (vector >= p.shape.vectors) continue;
      a[i] = Vector::Load(type, a_row + vector * vector_bytes);
      b[i] = Vector::Load(type, b_row + vector * vector_bytes);
    }
    // While the first vectors are on their way.
    if (first == item.lane) weights = WeighStates(a_lse, b_lse, sink);
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      const uint32_t vector = first + i * lanes;
      if (vector >= p.shape.vectors) continue;
      float values[kCount], others[kCount];
      Vector::Widen(a[i], values);
      Vector::Widen(b[i], others);
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        values[j] = MergeElement(weights, values[j], others[j]) * p.inverse_out_scale;
      }
      Vector::Store(p.out_type, out_row + vector * out_bytes, values);
    }
  }
  // Lane 0, which has had a vector, writes the log-sum-exp when all have read those whose place it
  // may take.
  __syncwarp(GroupMask(p.shape.lanes_log2));
  if (p.lse.address != 0 && item.lane == 0) {
    StoreGlobal(PlaceOf(p.lse, item.row, item.head), weights.lse);
  }
}

// The weights of up to 8 ranks, two to each of four lanes: the bits of TotalOfFew.
__device__ __forceinline__ RankTotal TotalOfQuad(const RankLses& lses, float unit, uint32_t lane) {
  const uint32_t quad = 0xfu << (threadIdx.x % 32u & ~3u);
  float values[2];
  LoadRanks(lses, static_cast<int32_t>(lane % 4) * 2, values);
  RankTotal result = {fmaxf(values[0], values[1]), 0.0f};
#pragma unroll
  for (int step = 1; step < 4; step *= 2)
    result.maximum = fmaxf(result.maximum, __shfl_xor_sync(quad, result.maximum, step));
  result.total =
      WeightOf(values[0], result.maximum, unit) + WeightOf(values[1], result.maximum, unit);
#pragma unroll
  for (int step = 1; step < 4; step *= 2) result.total += __shfl_xor_sync(quad, result.total, step);
  return result;
}

__device__ __forceinline__ RankShare ShareOfItem(const CorrectAttnOutParams& p, const Item& item) {
  const bool quads = p.ranks > 4 && p.ranks <= 8 && p.shape.lanes_log2 >= 2;
  if (!quads) return RankShareOf(p, item.row, item.head);
  const RankLses lses = {PlaceOf(p.lses, item.row, item.head), p.lses_rank_stride, p.ranks};
  const float own = LseOfRank(lses, p.rank);
  const RankTotal of = TotalOfQuad(lses, p.base2 ? 1.0f : kLog2OfE, item.lane);
  return ShareOf(of, own, SinkOf(p.shape, item.head), p.base2);
}

template <typename Vector>
__global__ void __launch_bounds__(kGroupThreads)
    CorrectAttnOutKernel(const __grid_constant__ CorrectAttnOutParams p) {
  constexpr int kInFlight = kCorrectVectorsInFlight;
  constexpr int kCount = Vector::kCount;
  const Item item = ItemOfThread(p.shape);
  if (!item.inside) return;
  const uint64_t from = PlaceOf(p.out, item.row, item.head);
  const uint64_t to = PlaceOf(p.corrected, item.row, item.head);
  const uint32_t lanes = 1u << p.shape.lanes_log2;
  const ElementType type = Vector::TypeOr(p.shape.type);
  RankShare share;
  uint32_t first = item.lane;
  do {  // once at least: heads without dimensions have a log-sum-exp too
    typename Vector::Raw raw[kInFlight];
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      const uint32_t vector = first + i * lanes;
      if (vector >= p.shape.vectors) continue;
      raw[i] = Vector::Load(type, from + vector * p.out_vector_stride);
    }
    // While the first vectors are on their way.
    if (first == item.lane) share = ShareOfItem(p, item);
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      const uint32_t vector = first + i * lanes;
      if (vector >= p.shape.vectors) continue;
      float values[kCount];
      Vector::Widen(raw[i], values);
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        values[j] = share.factor == 0.0f ? 0.0f : values[j] * share.factor;
      }
      Vector::Store(type, to + vector * p.corrected_vector_stride, values);
    }
    first += kInFlight * lanes;
  } while (first < p.shape.vectors);
  if (p.lse.address != 0 && item.lane == 0) {
    StoreGlobal(PlaceOf(p.lse, item.row, item.head), share.lse);
  }
}

template <typename Params>
using Kernel = void (*)(Params);

template <typename Params>
cudaError_t Launch(Kernel<Params> kernel, const Params& params, cudaStream_t stream) {
  for (int64_t first = 0; first < params.shape.rows;) {
    const Params some = SkipRows(params, first);
    const StateShape& shape = some.shape;
    cudaLaunchConfig_t config = {};
    config.gridDim =
        dim3(BlocksOfItems(static_cast<uint32_t>(shape.rows) * shape.heads, shape.lanes_log2));
    config.blockDim = dim3(kGroupThreads);
    config.stream = stream;
    const cudaError_t error = cudaLaunchKernelEx(&config, kernel, some);
    if (error != cudaSuccess) return error;
    first += shape.rows;
  }
  return cudaSuccess;
}

Kernel<MergeStatesParams> MergeKernelOf(const StateShape& shape) {
  if (!shape.whole) return MergeStatesKernel<OneElement>;
  if (shape.type == ElementType::kF16) return MergeStatesKernel<WholeVector<ElementType::kF16>>;
  if (shape.type == ElementType::kBF16) return MergeStatesKernel<WholeVector<ElementType::kBF16>>;
  return MergeStatesKernel<WholeVector<ElementType::kF32>>;
}

Kernel<CorrectAttnOutParams> CorrectKernelOf(const StateShape& shape) {
  if (!shape.whole) return CorrectAttnOutKernel<OneElement>;
  if (shape.type == ElementType::kF16) return CorrectAttnOutKernel<WholeVector<ElementType::kF16>>;
  if (shape.type == ElementType::kBF16) {
    return CorrectAttnOutKernel<WholeVector<ElementType::kBF16>>;
  }
  return CorrectAttnOutKernel<WholeVector<ElementType::kF32>>;
}

}  // namespace

cudaError_t LaunchMergeStates(const MergeStatesParams& params, cudaStream_t stream) {
  return Launch(MergeKernelOf(params.shape), params, stream);
}

cudaError_t LaunchCorrectAttnOut(const CorrectAttnOutParams& params, cudaStream_t stream) {
  return Launch(CorrectKernelOf(params.shape), params, stream);
}

cudaError_t LoadStates() {
  for (bool whole : {false, true}) {
    for (ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBF16}) {
      StateShape shape = {};
      shape.whole = whole;
      shape.type = type;
      cudaFuncAttributes attributes;
      cudaError_t error = cudaFuncGetAttributes(&attributes, MergeKernelOf(shape));
      if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, CorrectKernelOf(shape));
      if (error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

}  // namespace weft::cuda
