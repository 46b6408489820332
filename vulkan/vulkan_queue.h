// SPDX-License-Identifier: Apache-2.0
//
// VulkanQueue: weft::Queue over a CommandStream. The operations are recorded by vulkan/ops; core
// has checked their arguments before.
#ifndef WEFT_VULKAN_VULKAN_QUEUE_H_
#define WEFT_VULKAN_VULKAN_QUEUE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/backend.h"
#include "core/queue.h"
#include "vulkan/ops/ops.h"
#include "vulkan/runtime/command_stream.h"

namespace weft::vulkan {

class VulkanQueue final : public Queue {
 public:
  // `operation_kernels` belongs to the backend, which the queue keeps alive.
  VulkanQueue(std::shared_ptr<Backend> backend, const OperationKernels& operation_kernels,
              std::unique_ptr<CommandStream> stream)
      : Queue(backend->device(), &backend->allocations()),
        backend_(std::move(backend)),
        operation_kernels_(operation_kernels),
        stream_(std::move(stream)) {}

  absl::Status Submit() override { return stream_->Submit(); }
  absl::Status Wait(absl::Time deadline) override { return stream_->Wait(deadline); }
  void SetProfiling(bool on) override { stream_->SetProfiling(on); }
  std::vector<OpTime> TakeOpTimes() override;

  CommandStream& stream() { return *stream_; }

 protected:
  absl::Status DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) override;
  absl::Status DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) override;
  absl::Status DoCopy(uint64_t destination, uint64_t source, int64_t bytes) override;
  absl::Status DoFill(uint64_t destination, int64_t bytes, uint32_t pattern) override;
  absl::Status DoReshapeAndCache(const ReshapeAndCacheArgs& args) override;
  absl::Status DoAttention(const AttentionArgs& args) override;
  absl::Status DoGatherRows(const GatherRowsArgs& args) override;
  absl::Status DoMergeStates(const MergeStatesArgs& args) override;
  absl::Status DoCorrectAttnOut(const CorrectAttnOutArgs& args) override;
  absl::Status DoQuantizeFp8(const QuantizeFp8Args& args) override;

 private:
  absl::Status Record(OpKind kind, absl::FunctionRef<absl::Status()> record) {
    return stream_->Operation(static_cast<int>(kind), record);
  }

  std::shared_ptr<Backend> backend_;
  const OperationKernels& operation_kernels_;
  std::unique_ptr<CommandStream> stream_;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_VULKAN_QUEUE_H_
