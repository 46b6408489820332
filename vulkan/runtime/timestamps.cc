// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/timestamps.h"

#include "absl/memory/memory.h"
#include "core/status_macros.h"

namespace weft::vulkan {

absl::StatusOr<std::unique_ptr<TimestampPool>> TimestampPool::Create(const Device& device) {
  auto pool = absl::WrapUnique(new TimestampPool(device));
  VkQueryPoolCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
  info.queryType = VK_QUERY_TYPE_TIMESTAMP;
  info.queryCount = 2 * kMaxOperations;
  RETURN_IF_ERROR(
      ToStatus(device.api().CreateQueryPool(device.handle(), &info, nullptr, &pool->pool_),
               "vkCreateQueryPool"));
  return pool;
}

TimestampPool::~TimestampPool() {
  device_.api().DestroyQueryPool(device_.handle(), pool_, nullptr);
}

void TimestampPool::Reset(VkCommandBuffer commands) {
  kinds_.clear();
  device_.api().CmdResetQueryPool(commands, pool_, 0, 2 * kMaxOperations);
}

void TimestampPool::Begin(VkCommandBuffer commands, int kind) {
  device_.api().CmdWriteTimestamp2(commands, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, pool_,
                                   static_cast<uint32_t>(2 * kinds_.size()));
  kinds_.push_back(kind);
}

void TimestampPool::End(VkCommandBuffer commands) {
  device_.api().CmdWriteTimestamp2(commands, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, pool_,
                                   static_cast<uint32_t>(2 * kinds_.size() - 1));
}

absl::Status TimestampPool::Read(absl::Span<Sum> sums) const {
  if (kinds_.empty()) return absl::OkStatus();
  std::vector<uint64_t> ticks(2 * kinds_.size());
  RETURN_IF_ERROR(ToStatus(device_.api().GetQueryPoolResults(
                               device_.handle(), pool_, 0, static_cast<uint32_t>(ticks.size()),
                               ticks.size() * sizeof(uint64_t), ticks.data(), sizeof(uint64_t),
                               VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
                           "vkGetQueryPoolResults"));
  const uint32_t bits = device_.limits().timestamp_bits;
  const uint64_t mask = bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  for (size_t i = 0; i < kinds_.size(); ++i) {
    const uint64_t elapsed = (ticks[2 * i + 1] - ticks[2 * i]) & mask;  // the counter may wrap
    sums[kinds_[i]].calls += 1;
    sums[kinds_[i]].time +=
        absl::Nanoseconds(static_cast<double>(elapsed) * device_.limits().timestamp_period_ns);
  }
  return absl::OkStatus();
}

}  // namespace weft::vulkan
