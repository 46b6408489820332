// SPDX-License-Identifier: Apache-2.0
//
// CUDA's error codes as absl::Status.
#ifndef WEFT_CUDA_RUNTIME_STATUS_H_
#define WEFT_CUDA_RUNTIME_STATUS_H_

#include <string_view>

#include "absl/status/status.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// OK, or "cuda: <what>: cudaErrorX: text" under the code that says who is at fault: UNAVAILABLE (no
// driver, no device, no code for the device), RESOURCE_EXHAUSTED (memory), else INTERNAL. Clears
// CUDA's own last error, so that it is not found again by a later call that has nothing to do with
// it; one that broke the context stays, as CUDA will have it.
absl::Status ToStatus(cudaError_t error, std::string_view what);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_RUNTIME_STATUS_H_
