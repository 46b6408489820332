// SPDX-License-Identifier: Apache-2.0
#include "vulkan/backend_impl.h"

#include <cstdint>
#include <string>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "vulkan/vulkan_queue.h"

namespace weft::vulkan {

// Keeps the backend alive: the address map and the device are parts of it.
class VulkanBuffer final : public Buffer {
 public:
  // `memory` null: `binding` is a caller's.
  VulkanBuffer(std::shared_ptr<VulkanBackend> backend, std::unique_ptr<DeviceMemory> memory,
               const BufferBinding& binding, uint64_t address, int64_t bytes)
      : Buffer(address, bytes, backend->device()),
        backend_(std::move(backend)),
        memory_(std::move(memory)),
        binding_(binding) {}

  ~VulkanBuffer() override {
    if (listed_) backend_->mutable_allocations().Remove(address()).IgnoreError();
  }

  absl::Status List() {
    RETURN_IF_ERROR(backend_->mutable_allocations().Add({address(), size_bytes(), &binding_}));
    listed_ = true;
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<VulkanBackend> backend_;
  std::unique_ptr<DeviceMemory> memory_;
  BufferBinding binding_;
  bool listed_ = false;
};

DeviceInfo DescribeDevice(const PhysicalDevice& physical, int32_t ordinal) {
  const DeviceLimits& limits = physical.limits;
  DeviceInfo info;
  info.id = {BackendKind::kVulkan, ordinal};
  info.name = physical.name;
  info.driver = physical.driver;
  info.is_software = limits.is_software;
  info.memory_bytes = limits.memory_bytes;
  info.max_allocation_bytes = limits.max_allocation_bytes;
  auto yes_no = [](bool value) { return std::string(value ? "yes" : "no"); };
  const std::string subgroup =
      limits.min_subgroup_size == limits.max_subgroup_size
          ? absl::StrCat(limits.subgroup_size)
          : absl::StrCat(limits.subgroup_size, " (", limits.min_subgroup_size, " to ",
                         limits.max_subgroup_size, ")");
  info.limits = {
      {"api", absl::StrCat(VK_API_VERSION_MAJOR(limits.api_version), ".",
                           VK_API_VERSION_MINOR(limits.api_version), ".",
                           VK_API_VERSION_PATCH(limits.api_version))},
      {"subgroup size", subgroup},
      {"shared memory", absl::StrCat(limits.max_shared_memory_bytes, " bytes")},
      {"workgroup", absl::StrCat(limits.max_invocations, " invocations")},
      {"workgroups on x", absl::StrCat(limits.max_group_count[0])},
      {"float16 arithmetic", yes_no(limits.shader_float16)},
      {"memory budget", yes_no(limits.memory_budget)},
      {"timestamps", limits.timestamp_bits == 0 ? std::string("no")
                                                : absl::StrCat(limits.timestamp_bits, " bits of ",
                                                               limits.timestamp_period_ns, " ns")},
  };
  return info;
}

absl::StatusOr<std::shared_ptr<VulkanBackend>> VulkanBackend::Create(DeviceInfo info,
                                                                     std::unique_ptr<Device> device,
                                                                     const StreamOptions& options) {
  std::shared_ptr<VulkanBackend> backend(
      new VulkanBackend(std::move(info), std::move(device), options));
  ASSIGN_OR_RETURN(backend->operation_kernels_, PrepareOperationKernels(*backend->vulkan_device_));
  return backend;
}

absl::Status VulkanBackend::Supports(const AttentionSpec& spec, const KvCacheLayout& layout) const {
  return SupportsAttention(*vulkan_device_, spec, layout);
}

absl::StatusOr<std::unique_ptr<Buffer>> VulkanBackend::Allocate(int64_t bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<DeviceMemory> memory,
                   DeviceMemory::Create(*vulkan_device_, bytes, MemoryKind::kDevice));
  const BufferBinding binding = memory->binding();
  const uint64_t address = memory->address();
  auto buffer =
      std::make_unique<VulkanBuffer>(std::static_pointer_cast<VulkanBackend>(shared_from_this()),
                                     std::move(memory), binding, address, bytes);
  RETURN_IF_ERROR(buffer->List());
  return buffer;
}

absl::StatusOr<std::unique_ptr<Buffer>> VulkanBackend::Import(VkBuffer handle, int64_t bytes) {
  if (handle == VK_NULL_HANDLE || bytes < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "import of ", handle == VK_NULL_HANDLE ? "a null VkBuffer, " : "", bytes, " bytes"));
  }
  VkBufferDeviceAddressInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  info.buffer = handle;
  const uint64_t address =
      vulkan_device_->api().GetBufferDeviceAddress(vulkan_device_->handle(), &info);
  if (address == 0) {
    return absl::InvalidArgumentError(
        "import of a VkBuffer that has no address: it needs SHADER_DEVICE_ADDRESS usage, and "
        "memory with the device-address flag");
  }
  auto buffer =
      std::make_unique<VulkanBuffer>(std::static_pointer_cast<VulkanBackend>(shared_from_this()),
                                     nullptr, BufferBinding{handle, address}, address, bytes);
  RETURN_IF_ERROR(buffer->List());
  return buffer;
}

absl::StatusOr<std::unique_ptr<Queue>> VulkanBackend::CreateQueue() {
  ASSIGN_OR_RETURN(std::unique_ptr<CommandStream> stream,
                   CommandStream::Create(*vulkan_device_, allocations(), options_));
  return std::make_unique<VulkanQueue>(shared_from_this(), *operation_kernels_, std::move(stream));
}

absl::StatusOr<std::shared_ptr<const PreparedAttention>> VulkanBackend::Prepare(
    const AttentionSpec& spec, const KvCacheLayout& layout) {
  RETURN_IF_ERROR(SupportsAttention(*vulkan_device_, spec, layout));
  return PrepareAttention(*vulkan_device_, device(), allocations(), spec, layout);
}

}  // namespace weft::vulkan
