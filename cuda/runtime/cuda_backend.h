// SPDX-License-Identifier: Apache-2.0
//
// CudaBackend: one CUDA device. Works in the device's primary context, which it shares with every
// other user of the CUDA runtime in the process, so their pointers and streams can be adopted.
#ifndef WEFT_CUDA_RUNTIME_CUDA_BACKEND_H_
#define WEFT_CUDA_RUNTIME_CUDA_BACKEND_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "cuda.h"  // types only: libcuda is never linked
#include "cuda/runtime/device_hooks.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

class CudaBackend final : public Backend {
 public:
  using MemsetD32 = CUresult (*)(CUdeviceptr, unsigned, size_t, CUstream);

  // Loads the kernels. UNAVAILABLE if the device refuses a context, or this program holds no code
  // for it.
  static absl::StatusOr<std::shared_ptr<Backend>> Create(const DeviceInfo& info,
                                                         const DeviceHooks& hooks = {});

  absl::Status Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const override;
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<Queue>> CreateQueue() override;
  absl::StatusOr<std::shared_ptr<const PreparedAttention>> Prepare(
      const AttentionSpec& spec, const KvCacheLayout& layout) override;

  // See cuda/interop.h.
  absl::StatusOr<std::unique_ptr<Buffer>> AdoptMemory(uint64_t address, int64_t bytes);
  absl::StatusOr<std::unique_ptr<Queue>> AdoptStream(cudaStream_t stream);

  int num_multiprocessors() const { return num_multiprocessors_; }
  // Allocations on the device and pinned ones on the host, ever, by this backend and its queues:
  // how a test sees that a warm Forward makes none.
  int64_t num_allocations() const { return num_allocations_.load(std::memory_order_relaxed); }
  void CountAllocation() const { num_allocations_.fetch_add(1, std::memory_order_relaxed); }
  // The runtime fills bytes only; the driver fills words.
  MemsetD32 memset_d32() const { return memset_d32_; }

 private:
  friend class CudaBuffer;

  CudaBackend(const DeviceInfo& info, const DeviceHooks& hooks) : Backend(info), hooks_(hooks) {}
  std::shared_ptr<CudaBackend> Shared();

  DeviceHooks hooks_;
  int num_multiprocessors_ = 0;
  mutable std::atomic<int64_t> num_allocations_{0};
  MemsetD32 memset_d32_ = nullptr;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_RUNTIME_CUDA_BACKEND_H_
