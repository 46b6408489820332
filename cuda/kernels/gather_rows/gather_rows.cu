// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "cuda/kernels/byte_unit.cuh"
#include "cuda/kernels/gather_rows/gather_rows.h"

namespace weft::cuda {
namespace {

// __grid_constant__: `fill` is indexed at run time, and must stay in the argument bank for that.
template <int kBytes>
__global__ void __launch_bounds__(kGroupThreads)
    GatherRowsKernel(const __grid_constant__ GatherRowsParams params) {
  GatherPart<typename ByteUnit<kBytes>::type>(
      params, PlaceOfThread(blockIdx.x, threadIdx.x, params.lanes_log2));
}

template <int kBytes>
cudaError_t Launch(const GatherRowsParams& params, cudaStream_t stream) {
  for (int64_t first = 0; first < params.rows;) {
    const GatherRowsParams some = SkipRows(params, first);
    cudaLaunchConfig_t config = {};
    config.gridDim =
        dim3(BlocksOfItems(static_cast<uint32_t>(some.rows) * some.parts, some.lanes_log2));
    config.blockDim = dim3(kGroupThreads);
    config.stream = stream;
    const cudaError_t error = cudaLaunchKernelEx(&config, GatherRowsKernel<kBytes>, some);
    if (error != cudaSuccess) return error;
    first += some.rows;
  }
  return cudaSuccess;
}

template <int kBytes>
cudaError_t Load() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, GatherRowsKernel<kBytes>);
}

}  // namespace

cudaError_t LaunchGatherRows(const GatherRowsParams& params, int unit_bytes, cudaStream_t stream) {
  switch (unit_bytes) {
    case 16:
      return Launch<16>(params, stream);
    case 4:
      return Launch<4>(params, stream);
    case 2:
      return Launch<2>(params, stream);
    case 1:
      return Launch<1>(params, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t LoadGatherRows() {
  for (cudaError_t error : {Load<16>(), Load<4>(), Load<2>(), Load<1>()}) {
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace weft::cuda
