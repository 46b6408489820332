// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/backend.h"
#include "core/device.h"
#include "core/status_macros.h"
#include "cuda/backend_hooks.h"
#include "cuda/interop.h"
#include "cuda/runtime/cuda_backend.h"
#include "cuda/runtime/device.h"

namespace weft {
namespace {

class CudaFactory final : public BackendFactory {
 public:
  explicit CudaFactory(const cuda::DeviceHooks& hooks) : hooks_(hooks) {}

  BackendKind kind() const override { return BackendKind::kCuda; }

  absl::StatusOr<std::vector<DeviceInfo>> Enumerate() override { return cuda::EnumerateDevices(); }

  absl::StatusOr<std::shared_ptr<Backend>> Create(int32_t ordinal) override {
    ASSIGN_OR_RETURN(std::vector<DeviceInfo> devices, Enumerate());
    for (const DeviceInfo& info : devices) {
      if (info.id.ordinal == ordinal) return cuda::CudaBackend::Create(info, hooks_);
    }
    return absl::NotFoundError(absl::StrCat("cuda: there is no device ", ordinal));
  }

 private:
  cuda::DeviceHooks hooks_;
};

absl::StatusOr<cuda::CudaBackend*> AsCuda(Backend& backend) {
  if (backend.device().kind == BackendKind::kCuda) {
    return static_cast<cuda::CudaBackend*>(&backend);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cuda: ", ToString(backend.device()), " is not a CUDA device"));
}

}  // namespace

absl::Status RegisterCudaBackend(Registry& registry) {
  return RegisterCudaBackendWithHooks(registry, {});
}

absl::Status RegisterCudaBackendWithHooks(Registry& registry, const cuda::DeviceHooks& hooks) {
  return registry.Register(std::make_unique<CudaFactory>(hooks));
}

namespace cuda {

absl::StatusOr<std::unique_ptr<Queue>> AdoptStream(Backend& backend, cudaStream_t stream) {
  ASSIGN_OR_RETURN(CudaBackend * cuda, AsCuda(backend));
  return cuda->AdoptStream(stream);
}

absl::StatusOr<std::unique_ptr<Buffer>> AdoptMemory(Backend& backend, uint64_t address,
                                                    int64_t bytes) {
  ASSIGN_OR_RETURN(CudaBackend * cuda, AsCuda(backend));
  return cuda->AdoptMemory(address, bytes);
}

}  // namespace cuda
}  // namespace weft
