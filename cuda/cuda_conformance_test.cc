// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend's share of the conformance suite: the first device there is. A second target
// runs it with WEFT_CUDA_PRETEND_MULTIPROCESSORS=1, so that the suite's small batches are scheduled
// as large ones are.
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "core/registry.h"
#include "cuda/backend_hooks.h"
#include "testing/conformance/suite.h"

namespace weft::testing {
namespace {

absl::Status RegisterCuda(Registry& registry) {
  cuda::DeviceHooks hooks;
  const char* pretend = std::getenv("WEFT_CUDA_PRETEND_MULTIPROCESSORS");
  if (pretend != nullptr && !absl::SimpleAtoi(pretend, &hooks.pretend_multiprocessors)) {
    return absl::InvalidArgumentError("WEFT_CUDA_PRETEND_MULTIPROCESSORS is not a number");
  }
  return RegisterCudaBackendWithHooks(registry, hooks);
}

[[maybe_unused]] const bool kRegistered = RegisterConformanceBackend("cuda", RegisterCuda);

}  // namespace
}  // namespace weft::testing
