// SPDX-License-Identifier: Apache-2.0
//
// TimestampPool: how long the operations of one batch took on the device.
#ifndef WEFT_VULKAN_RUNTIME_TIMESTAMPS_H_
#define WEFT_VULKAN_RUNTIME_TIMESTAMPS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "vulkan/runtime/device.h"

namespace weft::vulkan {

inline constexpr int kMaxOpKinds = 8;

class TimestampPool {
 public:
  struct Sum {
    int64_t calls = 0;
    absl::Duration time;
  };
  static constexpr int kMaxOperations = 1024;

  static absl::StatusOr<std::unique_ptr<TimestampPool>> Create(const Device& device);
  ~TimestampPool();
  TimestampPool(const TimestampPool&) = delete;
  TimestampPool& operator=(const TimestampPool&) = delete;

  bool full() const { return kinds_.size() >= kMaxOperations; }
  void Reset(VkCommandBuffer commands);
  void Begin(VkCommandBuffer commands, int kind);
  void End(VkCommandBuffer commands);

  // Adds up by kind, after the batch is done. sums: [kMaxOpKinds].
  absl::Status Read(absl::Span<Sum> sums) const;

 private:
  explicit TimestampPool(const Device& device) : device_(device) {}

  const Device& device_;
  VkQueryPool pool_ = VK_NULL_HANDLE;
  std::vector<int> kinds_;  // of operation i, whose queries are 2i and 2i + 1
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_TIMESTAMPS_H_
