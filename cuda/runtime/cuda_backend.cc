// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/cuda_backend.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention_spec.h"
#include "core/device.h"
#include "core/status_macros.h"
#include "cuda/kernels/attention/arguments.h"
#include "cuda/kernels/attention/attention.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/gather_rows/gather_rows.h"
#include "cuda/kernels/quantize/quantize.h"
#include "cuda/kernels/reshape_and_cache/reshape_and_cache.h"
#include "cuda/kernels/states/states.h"
#include "cuda/runtime/cuda_queue.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/prepared_attention.h"
#include "cuda/runtime/status.h"

namespace weft::cuda {

// Memory of the backend's, or a caller's: then only its entry in the address map is ours.
class CudaBuffer final : public Buffer {
 public:
  CudaBuffer(std::shared_ptr<CudaBackend> backend, uint64_t address, int64_t bytes, bool owned)
      : Buffer(address, bytes, backend->device()), backend_(std::move(backend)), owned_(owned) {}

  ~CudaBuffer() override {
    // Out of the map before it is freed: CUDA may hand out the address again at once.
    backend_->mutable_allocations().Remove(address()).IgnoreError();
    if (!owned_) return;
    ScopedDevice current(backend_->device().ordinal);
    ScopedRelaxedCapture relaxed;
    cudaFree(reinterpret_cast<void*>(address()));
  }

  static absl::Status Register(CudaBackend& backend, uint64_t address, int64_t bytes) {
    return backend.mutable_allocations().Add({address, bytes, nullptr});
  }

 private:
  std::shared_ptr<CudaBackend> backend_;
  bool owned_;
};

namespace {

// On the current device.
absl::Status OutOfMemory(DeviceId device, int64_t bytes) {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  RETURN_IF_ERROR(ToStatus(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory"));
  return absl::ResourceExhaustedError(absl::StrCat(ToString(device), ": ", bytes,
                                                   " bytes asked for, ", free_bytes, " of ",
                                                   total_bytes, " are free"));
}

absl::StatusOr<CudaBackend::MemsetD32> FindMemsetD32() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  RETURN_IF_ERROR(ToStatus(cudaGetDriverEntryPointByVersion("cuMemsetD32Async", &function, 12000,
                                                            cudaEnableDefault, &found),
                           "looking for cuMemsetD32Async"));
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    return absl::UnavailableError("cuda: the driver has no cuMemsetD32Async");
  }
  return reinterpret_cast<CudaBackend::MemsetD32>(function);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Backend>> CudaBackend::Create(const DeviceInfo& info,
                                                             const DeviceHooks& hooks) {
  ScopedDevice current(info.id.ordinal);
  RETURN_IF_ERROR(current.status());
  std::shared_ptr<CudaBackend> backend(new CudaBackend(info, hooks));
  for (auto* load : {LoadReshapeAndCache, LoadGatherRows, LoadStates, LoadQuantizeFp8}) {
    RETURN_IF_ERROR(ToStatus(load(), absl::StrCat("loading kernels on ", info.name)));
  }
  RETURN_IF_ERROR(ToStatus(cudaDeviceGetAttribute(&backend->num_multiprocessors_,
                                                  cudaDevAttrMultiProcessorCount, info.id.ordinal),
                           "counting multiprocessors"));
  ASSIGN_OR_RETURN(backend->memset_d32_, FindMemsetD32());
  return backend;
}

std::shared_ptr<CudaBackend> CudaBackend::Shared() {
  return std::static_pointer_cast<CudaBackend>(shared_from_this());
}

absl::Status CudaBackend::Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const {
  return SupportsAttention(spec, layout);
}

absl::StatusOr<std::shared_ptr<const PreparedAttention>> CudaBackend::Prepare(
    const AttentionSpec& spec, const KvCacheLayout& layout) {
  RETURN_IF_ERROR(Supports(spec, layout));
  ScopedDevice current(device().ordinal);
  RETURN_IF_ERROR(current.status());
  AttentionKernels kernels;
  RETURN_IF_ERROR(
      ToStatus(LoadAttentionKernels(ToElementType(spec.dtype), ToElementType(layout.dtype()),
                                    spec.head_size, spec.group_size(), &kernels),
               absl::StrCat("loading the kernels of ", spec.ToString())));
  if (hooks_.pretend_multiprocessors > 0)
    kernels.decode_device.multiprocessors = hooks_.pretend_multiprocessors;
  return std::make_shared<const CudaPreparedAttention>(spec, layout, device(), &allocations(),
                                                       kernels);
}

absl::StatusOr<std::unique_ptr<Buffer>> CudaBackend::Allocate(int64_t bytes) {
  if (bytes < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(ToString(device()), ": cannot allocate ", bytes, " bytes, 1 is the least"));
  }
  ScopedDevice current(device().ordinal);
  RETURN_IF_ERROR(current.status());
  if (bytes > info().max_allocation_bytes) return OutOfMemory(device(), bytes);
  void* pointer = nullptr;
  ScopedRelaxedCapture relaxed;
  CountAllocation();
  const cudaError_t error = cudaMalloc(&pointer, static_cast<size_t>(bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return OutOfMemory(device(), bytes);
  }
  RETURN_IF_ERROR(ToStatus(error, absl::StrCat("allocating ", bytes, " bytes")));
  const auto address = reinterpret_cast<uint64_t>(pointer);
  if (absl::Status added = CudaBuffer::Register(*this, address, bytes); !added.ok()) {
    cudaFree(pointer);
    return added;
  }
  return std::make_unique<CudaBuffer>(Shared(), address, bytes, /*owned=*/true);
}

absl::StatusOr<std::unique_ptr<Buffer>> CudaBackend::AdoptMemory(uint64_t address, int64_t bytes) {
  if (bytes < 1 || address == 0) {
    return absl::InvalidArgumentError(absl::StrCat(ToString(device()), ": cannot adopt ", bytes,
                                                   " bytes at address ", absl::Hex(address)));
  }
  ScopedDevice current(device().ordinal);
  RETURN_IF_ERROR(current.status());
  cudaPointerAttributes attributes;
  RETURN_IF_ERROR(
      ToStatus(cudaPointerGetAttributes(&attributes, reinterpret_cast<const void*>(address)),
               "asking what memory an address is"));
  if (attributes.type != cudaMemoryTypeDevice || attributes.device != device().ordinal) {
    return absl::InvalidArgumentError(absl::StrCat(
        ToString(device()), ": address ", absl::Hex(address), " is not memory of this device"));
  }
  RETURN_IF_ERROR(CudaBuffer::Register(*this, address, bytes));
  return std::make_unique<CudaBuffer>(Shared(), address, bytes, /*owned=*/false);
}

absl::StatusOr<std::unique_ptr<Queue>> CudaBackend::CreateQueue() {
  return CudaQueue::Create(Shared(), std::nullopt);
}

absl::StatusOr<std::unique_ptr<Queue>> CudaBackend::AdoptStream(cudaStream_t stream) {
  return CudaQueue::Create(Shared(), stream);
}

}  // namespace weft::cuda
