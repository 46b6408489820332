// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_TOOLS_BUILD_DEFS_CUDA_TESTDATA_TEST_KERNEL_H_
#define WEFT_TOOLS_BUILD_DEFS_CUDA_TESTDATA_TEST_KERNEL_H_

#include <cuda_runtime_api.h>

namespace weft::testing {

// Doubles count values in device memory.
cudaError_t Double(float* data, int count, cudaStream_t stream);

}  // namespace weft::testing

#endif  // WEFT_TOOLS_BUILD_DEFS_CUDA_TESTDATA_TEST_KERNEL_H_
