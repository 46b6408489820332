// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "cuda/kernels/reshape_and_cache/reshape_and_cache.h"

namespace weft::cuda {
namespace {

template <int kBytes>
struct Unit;
template <>
struct Unit<16> {
  using type = uint4;
};
template <>
struct Unit<4> {
  using type = uint32_t;
};
template <>
struct Unit<2> {
  using type = uint16_t;
};

// __grid_constant__: `segments` is indexed at run time, and must stay in the argument bank for
// that.
template <int kBytes>
__global__ void __launch_bounds__(kReshapeThreads)
    ReshapeAndCacheKernel(const __grid_constant__ ReshapeAndCacheParams params,
                          int tokens_per_block) {
  __shared__ ReshapeDestination destinations[kReshapeThreads];
  const int64_t first = int64_t{blockIdx.x} * tokens_per_block;
  const int64_t left = params.num_tokens - first;
  const int count = left < tokens_per_block ? static_cast<int>(left) : tokens_per_block;

  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  if (thread < count) {
    const auto* slots = reinterpret_cast<const int64_t*>(params.slots);
    destinations[thread] = ResolveSlot(params, slots[first + thread]);
  }
  __syncthreads();
  for (int column = threadIdx.x; column < params.row_units; column += blockDim.x) {
    CopyColumn<typename Unit<kBytes>::type>(params, destinations, first, count, column, threadIdx.y,
                                            blockDim.y);
  }
}

template <int kBytes>
cudaError_t Launch(const ReshapeAndCacheParams& params, const ReshapeAndCacheShape& shape,
                   cudaStream_t stream) {
  // The grid's own limit: 2^31 blocks would need more slots than a device has memory for.
  if (shape.blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(shape.threads_x, shape.threads_y);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, ReshapeAndCacheKernel<kBytes>, params, shape.tokens_per_block);
}

template <int kBytes>
cudaError_t Load() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, ReshapeAndCacheKernel<kBytes>);
}

}  // namespace

cudaError_t LaunchReshapeAndCache(const ReshapeAndCacheParams& params, int unit_bytes,
                                  const ReshapeAndCacheShape& shape, cudaStream_t stream) {
  switch (unit_bytes) {
    case 16:
      return Launch<16>(params, shape, stream);
    case 4:
      return Launch<4>(params, shape, stream);
    case 2:
      return Launch<2>(params, shape, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t LoadReshapeAndCache() {
  for (cudaError_t error : {Load<16>(), Load<4>(), Load<2>()}) {
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace weft::cuda
