// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend as tests of this repository want it.
#ifndef WEFT_CUDA_BACKEND_HOOKS_H_
#define WEFT_CUDA_BACKEND_HOOKS_H_

#include "absl/status/status.h"
#include "core/registry.h"
#include "cuda/runtime/device_hooks.h"

namespace weft {

// RegisterCudaBackend, with `hooks` on every device that is created.
absl::Status RegisterCudaBackendWithHooks(Registry& registry, const cuda::DeviceHooks& hooks);

}  // namespace weft

#endif  // WEFT_CUDA_BACKEND_HOOKS_H_
