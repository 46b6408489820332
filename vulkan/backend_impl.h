// SPDX-License-Identifier: Apache-2.0
//
// The backend of one Vulkan device, for what else lies in this folder.
#ifndef WEFT_VULKAN_BACKEND_IMPL_H_
#define WEFT_VULKAN_BACKEND_IMPL_H_

#include <memory>
#include <utility>

#include "core/backend.h"
#include "vulkan/ops/ops.h"
#include "vulkan/runtime/command_stream.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/memory.h"
#include "vulkan/runtime/physical_device.h"

namespace weft::vulkan {

DeviceInfo DescribeDevice(const PhysicalDevice& physical, int32_t ordinal);

class VulkanBackend final : public Backend {
 public:
  // Compiles the kernels that no layer has to ask for.
  static absl::StatusOr<std::shared_ptr<VulkanBackend>> Create(DeviceInfo info,
                                                               std::unique_ptr<Device> device,
                                                               const StreamOptions& options);

  absl::Status Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const override;
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<Queue>> CreateQueue() override;
  absl::StatusOr<std::shared_ptr<const PreparedAttention>> Prepare(
      const AttentionSpec& spec, const KvCacheLayout& layout) override;

  // A caller's VkBuffer as a Buffer; the caller keeps it alive for longer.
  absl::StatusOr<std::unique_ptr<Buffer>> Import(VkBuffer buffer, int64_t bytes);

  Device& vulkan_device() const { return *vulkan_device_; }

 private:
  VulkanBackend(DeviceInfo info, std::unique_ptr<Device> device, const StreamOptions& options)
      : Backend(std::move(info)), vulkan_device_(std::move(device)), options_(options) {}

  friend class VulkanBuffer;

  std::unique_ptr<Device> vulkan_device_;
  std::unique_ptr<OperationKernels> operation_kernels_;
  StreamOptions options_;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_BACKEND_IMPL_H_
