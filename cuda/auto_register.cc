// SPDX-License-Identifier: Apache-2.0
#include "absl/status/status.h"
#include "core/registry.h"
#include "cuda/cuda_backend.h"

namespace weft {
namespace {

// Fails only if main registered the backend itself: then there is nothing left to do.
[[maybe_unused]] const bool registered = RegisterCudaBackend(Registry::Default()).ok();

}  // namespace
}  // namespace weft
