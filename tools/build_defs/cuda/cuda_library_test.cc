// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include <vector>

#include "gtest/gtest.h"
#include "tools/build_defs/cuda/testdata/test_kernel.h"

namespace weft::testing {
namespace {

// The runtime is linked statically: the program starts, and is told that there is no device.
bool HasDevice() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  EXPECT_TRUE(error == cudaSuccess || error == cudaErrorInsufficientDriver ||
              error == cudaErrorNoDevice)
      << cudaGetErrorString(error);
  return error == cudaSuccess && count > 0;
}

TEST(CudaLibraryTest, StartsWithoutADriver) { HasDevice(); }

TEST(CudaLibraryTest, RunsAKernel) {
  if (!HasDevice()) GTEST_SKIP() << "no CUDA device here";
  std::vector<float> host = {1.0f, 2.0f, 3.0f};
  const size_t bytes = host.size() * sizeof(float);
  float* data = nullptr;
  ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&data), bytes), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(data, host.data(), bytes, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(Double(data, 3, nullptr), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(host.data(), data, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(cudaFree(data), cudaSuccess);
  EXPECT_EQ(host, (std::vector<float>{2.0f, 4.0f, 6.0f}));
}

}  // namespace
}  // namespace weft::testing
