// SPDX-License-Identifier: Apache-2.0
#include "tools/build_defs/cuda/testdata/test_kernel.h"

namespace weft::testing {
namespace {

__global__ void DoubleKernel(float* data, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) data[i] *= 2.0f;
}

}  // namespace

cudaError_t Double(float* data, int count, cudaStream_t stream) {
  DoubleKernel<<<(count + 127) / 128, 128, 0, stream>>>(data, count);
  return cudaGetLastError();
}

}  // namespace weft::testing
