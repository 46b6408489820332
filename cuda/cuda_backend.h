// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend. A program that depends on //cuda:cuda_backend and calls this, or on
// //cuda:auto, has it; it starts on a machine without a driver all the same, and Registry::List
// says what is missing.
#ifndef WEFT_CUDA_CUDA_BACKEND_H_
#define WEFT_CUDA_CUDA_BACKEND_H_

#include "absl/status/status.h"
#include "core/registry.h"

namespace weft {

// Touches no driver. ALREADY_EXISTS if there is a CUDA backend in the registry. Where the program
// was built without CUDA the backend is there too, and is UNAVAILABLE.
absl::Status RegisterCudaBackend(Registry& registry);

}  // namespace weft

#endif  // WEFT_CUDA_CUDA_BACKEND_H_
