// SPDX-License-Identifier: Apache-2.0
#include "vulkan/vulkan_queue.h"

namespace weft::vulkan {

static_assert(kNumOpKinds <= kMaxOpKinds, "a stream has a sum for each kind");

std::vector<OpTime> VulkanQueue::TakeOpTimes() {
  const std::vector<TimestampPool::Sum> sums = stream_->TakeTimes();
  std::vector<OpTime> times(kNumOpKinds);
  for (int i = 0; i < kNumOpKinds; ++i) {
    times[i].calls = sums[i].calls;
    times[i].time = sums[i].time;
  }
  return times;
}

absl::Status VulkanQueue::DoCopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) {
  return Record(OpKind::kCopy, [&] { return stream_->CopyFromHost(destination, source); });
}

absl::Status VulkanQueue::DoCopyToHost(absl::Span<uint8_t> destination, uint64_t source) {
  return Record(OpKind::kCopy, [&] { return stream_->CopyToHost(destination, source); });
}

absl::Status VulkanQueue::DoCopy(uint64_t destination, uint64_t source, int64_t bytes) {
  return Record(OpKind::kCopy, [&] { return stream_->Copy(destination, source, bytes); });
}

absl::Status VulkanQueue::DoFill(uint64_t destination, int64_t bytes, uint32_t pattern) {
  return Record(OpKind::kFill, [&] { return stream_->Fill(destination, bytes, pattern); });
}

absl::Status VulkanQueue::DoReshapeAndCache(const ReshapeAndCacheArgs& args) {
  return Record(OpKind::kReshapeAndCache,
                [&] { return RecordReshapeAndCache(*stream_, operation_kernels_, args); });
}

absl::Status VulkanQueue::DoAttention(const AttentionArgs& args) {
  // Core has checked that it was prepared on this device, so it is one of ours.
  const auto& prepared = static_cast<const VulkanPreparedAttention&>(*args.prepared);
  return Record(OpKind::kAttention, [&] { return RecordAttention(*stream_, prepared, args); });
}

absl::Status VulkanQueue::DoGatherRows(const GatherRowsArgs& args) {
  return Record(OpKind::kGatherRows,
                [&] { return RecordGatherRows(*stream_, operation_kernels_, args); });
}

absl::Status VulkanQueue::DoMergeStates(const MergeStatesArgs& args) {
  return Record(OpKind::kMergeStates,
                [&] { return RecordMergeStates(*stream_, operation_kernels_, args); });
}

absl::Status VulkanQueue::DoCorrectAttnOut(const CorrectAttnOutArgs& args) {
  return Record(OpKind::kCorrectAttnOut,
                [&] { return RecordCorrectAttnOut(*stream_, operation_kernels_, args); });
}

absl::Status VulkanQueue::DoQuantizeFp8(const QuantizeFp8Args& args) {
  return Record(OpKind::kQuantizeFp8,
                [&] { return RecordQuantizeFp8(*stream_, operation_kernels_, args); });
}

}  // namespace weft::vulkan
