// SPDX-License-Identifier: Apache-2.0
//
// Stands in for cuda_backend.cc where the build has no CUDA.
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/device.h"
#include "cuda/backend_hooks.h"
#include "cuda/cuda_backend.h"
#include "cuda/interop.h"

namespace weft {
namespace {

absl::Status WithoutCuda() {
  return absl::UnavailableError("built without CUDA (--config=nocuda or no toolkit)");
}

class AbsentFactory final : public BackendFactory {
 public:
  BackendKind kind() const override { return BackendKind::kCuda; }
  absl::StatusOr<std::vector<DeviceInfo>> Enumerate() override { return WithoutCuda(); }
  absl::StatusOr<std::shared_ptr<Backend>> Create(int32_t) override { return WithoutCuda(); }
};

}  // namespace

absl::Status RegisterCudaBackend(Registry& registry) {
  return registry.Register(std::make_unique<AbsentFactory>());
}

absl::Status RegisterCudaBackendWithHooks(Registry& registry, const cuda::DeviceHooks&) {
  return RegisterCudaBackend(registry);
}

namespace cuda {

absl::StatusOr<std::unique_ptr<Queue>> AdoptStream(Backend&, cudaStream_t) { return WithoutCuda(); }

absl::StatusOr<std::unique_ptr<Buffer>> AdoptMemory(Backend&, uint64_t, int64_t) {
  return WithoutCuda();
}

}  // namespace cuda
}  // namespace weft
