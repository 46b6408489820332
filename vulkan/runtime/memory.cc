// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/memory.h"

#include <optional>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "vulkan/runtime/instance.h"

namespace weft::vulkan {
namespace {

constexpr uint64_t kAlignment = 256;

constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags kMapped =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

struct Wish {
  VkMemoryPropertyFlags needed;
  VkMemoryPropertyFlags preferred;
};

Wish WishOf(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kDevice:
      return {0, kLocal};
    case MemoryKind::kParameters:
      return {kMapped, kLocal};
    case MemoryKind::kUpload:
      return {kMapped, 0};
    case MemoryKind::kReadback:
      return {kMapped, VK_MEMORY_PROPERTY_HOST_CACHED_BIT};
  }
  return {};
}

// The first type that has all of needed and preferred, else the first that has needed: Vulkan
// orders the types of one kind by speed.
std::optional<uint32_t> ChooseType(const VkPhysicalDeviceMemoryProperties& memory, uint32_t allowed,
                                   Wish wish) {
  for (VkMemoryPropertyFlags flags : {wish.needed | wish.preferred, wish.needed}) {
    for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
      if ((allowed >> i & 1) == 0) continue;
      if ((memory.memoryTypes[i].propertyFlags & flags) == flags) return i;
    }
  }
  return std::nullopt;
}

// What the heap still has, by the driver's account, in words.
std::string Available(const Device& device, uint32_t heap) {
  std::string words =
      absl::StrCat("the heap has ", device.memory().memoryHeaps[heap].size, " bytes");
  if (!device.limits().memory_budget) return words;
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {};
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 memory = {};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  memory.pNext = &budget;
  device.instance().api().GetPhysicalDeviceMemoryProperties2(device.physical(), &memory);
  absl::StrAppend(&words, ", of which ", budget.heapBudget[heap], " for this process, which holds ",
                  budget.heapUsage[heap]);
  return words;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceMemory>> DeviceMemory::Create(Device& device, int64_t bytes,
                                                                   MemoryKind kind) {
  if (bytes < 1) {
    return absl::InvalidArgumentError(absl::StrCat("allocation of ", bytes, " bytes"));
  }
  const int64_t limit = device.limits().max_allocation_bytes;
  if (bytes > limit) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "allocation of ", bytes, " bytes: the device allows ", limit, " in one allocation"));
  }
  auto memory = absl::WrapUnique(new DeviceMemory(device, bytes));
  RETURN_IF_ERROR(memory->Make(bytes, kind));
  if (memory->binding_.address % kAlignment != 0) {
    // A driver may align less than we promise: then the promise is kept within a larger buffer.
    memory->Destroy();
    RETURN_IF_ERROR(memory->Make(bytes + static_cast<int64_t>(kAlignment) - 1, kind));
  }
  const uint64_t base = memory->binding_.address;
  memory->address_ = (base + kAlignment - 1) / kAlignment * kAlignment;
  if (memory->data_ != nullptr) memory->data_ += memory->address_ - base;
  return memory;
}

absl::Status DeviceMemory::Make(int64_t buffer_bytes, MemoryKind kind) {
  const DeviceApi& api = device_.api();
  VkBufferCreateInfo buffer = {};
  buffer.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  buffer.size = static_cast<VkDeviceSize>(buffer_bytes);
  buffer.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  buffer.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
  RETURN_IF_ERROR(ToStatus(api.CreateBuffer(device_.handle(), &buffer, nullptr, &binding_.buffer),
                           "vkCreateBuffer"));

  VkMemoryRequirements requirements = {};
  api.GetBufferMemoryRequirements(device_.handle(), binding_.buffer, &requirements);
  const std::optional<uint32_t> type =
      ChooseType(device_.memory(), requirements.memoryTypeBits, WishOf(kind));
  if (!type.has_value()) {
    return absl::UnimplementedError("the device has no memory type that buffers can use");
  }
  const uint32_t heap = device_.memory().memoryTypes[*type].heapIndex;
  if (requirements.size > device_.memory().memoryHeaps[heap].size) {
    return absl::ResourceExhaustedError(
        absl::StrCat("allocation of ", requirements.size, " bytes: ", Available(device_, heap)));
  }

  VkMemoryAllocateFlagsInfo flags = {};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  info.pNext = &flags;
  info.allocationSize = requirements.size;
  info.memoryTypeIndex = *type;
  absl::Status status =
      ToStatus(api.AllocateMemory(device_.handle(), &info, nullptr, &memory_), "vkAllocateMemory");
  if (absl::IsResourceExhausted(status)) {
    return absl::ResourceExhaustedError(absl::StrCat("allocation of ", requirements.size,
                                                     " bytes: ", Available(device_, heap), " (",
                                                     status.message(), ")"));
  }
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(
      ToStatus(api.BindBufferMemory(device_.handle(), binding_.buffer, memory_, /*memoryOffset=*/0),
               "vkBindBufferMemory"));
  if (kind != MemoryKind::kDevice) {
    void* data = nullptr;
    RETURN_IF_ERROR(ToStatus(api.MapMemory(device_.handle(), memory_, 0, VK_WHOLE_SIZE, 0, &data),
                             "vkMapMemory"));
    data_ = static_cast<uint8_t*>(data);
  }
  VkBufferDeviceAddressInfo address = {};
  address.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  address.buffer = binding_.buffer;
  binding_.address = api.GetBufferDeviceAddress(device_.handle(), &address);
  return absl::OkStatus();
}

void DeviceMemory::Destroy() {
  device_.api().DestroyBuffer(device_.handle(), binding_.buffer, nullptr);
  device_.api().FreeMemory(device_.handle(), memory_, nullptr);  // unmaps
  binding_ = {};
  memory_ = VK_NULL_HANDLE;
  data_ = nullptr;
}

DeviceMemory::~DeviceMemory() { Destroy(); }

}  // namespace weft::vulkan
