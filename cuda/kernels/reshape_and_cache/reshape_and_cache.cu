// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "cuda/kernels/byte_unit.cuh"
#include "cuda/kernels/element.cuh"
#include "cuda/kernels/reshape_and_cache/reshape_and_cache.h"

namespace weft::cuda {
namespace {

// Copies columns of a block's tokens.
template <typename Unit>
struct Copy {
  static constexpr int kBlocksAtOnce = 4;  // of a multiprocessor; bounds the registers
  static constexpr int kTokens = kReshapeTokensInFlight;
  using Raw = Unit;

  static __device__ __forceinline__ ReshapeColumn Place(const ReshapeAndCacheParams& p,
                                                        uint32_t column) {
    return ColumnOf(p, column, sizeof(Unit), sizeof(Unit));
  }
  static __device__ __forceinline__ Raw Load(const ReshapeAndCacheParams&, uint64_t from) {
    return LoadGlobal<Unit>(from);
  }
  static __device__ __forceinline__ void Store(const ReshapeAndCacheParams&,
                                               const ReshapeDestination* destinations,
                                               const ReshapeColumn& at, int count,
                                               const ReshapeUnits<Raw, kTokens>& units) {
    const auto store = [](uint64_t to, const Raw& raw) { StoreGlobal(to, raw); };
    StoreColumn(destinations, at, count, threadIdx.y, blockDim.y, units, store, store);
  }
};

__device__ __forceinline__ Quotient QuotientOfHead(uint64_t scales, uint32_t head) {
  return MakeQuotient(scales == 0 ? 1.0f
                                  : LoadGlobal<float>(scales + uint64_t{head} * sizeof(float)));
}

// Quantises them.
template <typename Vector>
struct Quantize {
  static constexpr int kBlocksAtOnce = 5;
  static constexpr int kTokens = kQuantizeTokensInFlight;
  using Raw = typename Vector::Raw;

  static __device__ __forceinline__ ReshapeColumn Place(const ReshapeAndCacheParams& p,
                                                        uint32_t column) {
    constexpr int kCount = Vector::kCount;
    return ColumnOf(p, column, kCount * ElementBytes(Vector::TypeOr(p.source_type)), kCount);
  }
  static __device__ __forceinline__ Raw Load(const ReshapeAndCacheParams& p, uint64_t from) {
    return Vector::Load(Vector::TypeOr(p.source_type), from);
  }
  static __device__ __forceinline__ void Store(const ReshapeAndCacheParams& p,
                                               const ReshapeDestination* destinations,
                                               const ReshapeColumn& at, int count,
                                               const ReshapeUnits<Raw, kTokens>& units) {
    const auto store_by = [&p](const Quotient& quotient) {
      return [&p, quotient](uint64_t to, const Raw& raw) {
        float values[Vector::kCount];
        Vector::Widen(raw, values);
        DivideAll(quotient, Vector::TypeOr(p.source_type), values);
        Vector::StoreFp8(p.cache_type, to, values);
      };
    };
    StoreColumn(destinations, at, count, threadIdx.y, blockDim.y, units,
                store_by(QuotientOfHead(p.k_scales, at.head)),
                store_by(QuotientOfHead(p.v_scales, at.head)));
  }
};

// __grid_constant__: `segments` is indexed at run time, and must stay in the argument bank for
// that.
template <typename Work>
__global__ void __launch_bounds__(kReshapeThreads, Work::kBlocksAtOnce)
    ReshapeAndCacheKernel(const __grid_constant__ ReshapeAndCacheParams params,
                          int tokens_per_block) {
  __shared__ ReshapeDestination destinations[kReshapeThreads];
  const int64_t first = int64_t{blockIdx.x} * tokens_per_block;
  const int64_t left = params.num_tokens - first;
  const int count = left < tokens_per_block ? static_cast<int>(left) : tokens_per_block;

  using Units = ReshapeUnits<typename Work::Raw, Work::kTokens>;
  const auto load = [&](const ReshapeColumn& at, Units& units) {
    LoadColumn(params, at, first, count, threadIdx.y, blockDim.y, units,
               [&](uint64_t from) { return Work::Load(params, from); });
  };
  Units units;
  ReshapeColumn at;
  uint32_t column = threadIdx.x;
  if (column < params.row_units) {
    at = Work::Place(params, column);
    load(at, units);
  }
  // The slots, while those loads are on their way.
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  if (thread < count) {
    const auto slot = LoadGlobal<int64_t>(params.slots + (first + thread) * sizeof(int64_t));
    destinations[thread] = ResolveSlot(params, slot);
  }
  __syncthreads();
  while (column < params.row_units) {
    Work::Store(params, destinations, at, count, units);
    column += blockDim.x;
    if (column >= params.row_units) return;
    at = Work::Place(params, column);
    load(at, units);
  }
}

using Kernel = void (*)(ReshapeAndCacheParams, int);

// nullptr: no such unit.
Kernel CopyKernelOf(int unit_bytes) {
  switch (unit_bytes) {
    case 16:
      return ReshapeAndCacheKernel<Copy<ByteUnit<16>::type>>;
    case 4:
      return ReshapeAndCacheKernel<Copy<ByteUnit<4>::type>>;
    case 2:
      return ReshapeAndCacheKernel<Copy<ByteUnit<2>::type>>;
    case 1:
      return ReshapeAndCacheKernel<Copy<ByteUnit<1>::type>>;
    default:
      return nullptr;
  }
}

Kernel QuantizeKernelOf(bool whole, ElementType type) {
  if (!whole) return ReshapeAndCacheKernel<Quantize<OneElement>>;
  if (type == ElementType::kF16) {
    return ReshapeAndCacheKernel<Quantize<WholeVector<ElementType::kF16>>>;
  }
  if (type == ElementType::kBF16) {
    return ReshapeAndCacheKernel<Quantize<WholeVector<ElementType::kBF16>>>;
  }
  return ReshapeAndCacheKernel<Quantize<WholeVector<ElementType::kF32>>>;
}

cudaError_t Launch(Kernel kernel, const ReshapeAndCacheParams& params,
                   const ReshapeAndCacheShape& shape, cudaStream_t stream) {
  if (kernel == nullptr) return cudaErrorInvalidValue;
  // The grid's own limit: 2^31 blocks would need more slots than a device has memory for.
  if (shape.blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(shape.threads_x, shape.threads_y);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, params, shape.tokens_per_block);
}

}  // namespace

cudaError_t LaunchReshapeAndCache(const ReshapeAndCacheParams& params, int unit_bytes,
                                  const ReshapeAndCacheShape& shape, cudaStream_t stream) {
  return Launch(CopyKernelOf(unit_bytes), params, shape, stream);
}

cudaError_t LaunchQuantizeToCache(const ReshapeAndCacheParams& params, bool whole,
                                  const ReshapeAndCacheShape& shape, cudaStream_t stream) {
  return Launch(QuantizeKernelOf(whole, params.source_type), params, shape, stream);
}

cudaError_t LoadReshapeAndCache() {
  cudaFuncAttributes attributes;
  for (int bytes : kReshapeUnitBytes) {
    const cudaError_t error = cudaFuncGetAttributes(&attributes, CopyKernelOf(bytes));
    if (error != cudaSuccess) return error;
  }
  for (bool whole : {false, true}) {
    for (ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBF16}) {
      const cudaError_t error = cudaFuncGetAttributes(&attributes, QuantizeKernelOf(whole, type));
      if (error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

}  // namespace weft::cuda
