// SPDX-License-Identifier: Apache-2.0
//
// DeviceMemory: a VkBuffer with memory and an address. Everything that weft allocates is one.
#ifndef WEFT_VULKAN_RUNTIME_MEMORY_H_
#define WEFT_VULKAN_RUNTIME_MEMORY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/vulkan_api.h"

namespace weft::vulkan {

// A VkBuffer and the address of its first byte: what AddressMap::Allocation::owner points to, since
// copies want the buffer behind an address.
struct BufferBinding {
  VkBuffer buffer = VK_NULL_HANDLE;
  uint64_t address = 0;
};

enum class MemoryKind {
  kDevice,      // the device's own, not mapped
  kParameters,  // mapped; small, read once by the device, and so its own where it can be mapped
  kUpload,      // mapped; the host writes it
  kReadback,    // mapped; the host reads it, and so cached where that exists
};

class DeviceMemory {
 public:
  // bytes >= 1. RESOURCE_EXHAUSTED states limit and need. `device` must outlive it.
  static absl::StatusOr<std::unique_ptr<DeviceMemory>> Create(Device& device, int64_t bytes,
                                                              MemoryKind kind);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  const BufferBinding& binding() const { return binding_; }
  // A multiple of 256, and maybe behind the VkBuffer's first byte.
  uint64_t address() const { return address_; }
  int64_t bytes() const { return bytes_; }
  // The byte at address() as the host sees it; null for kDevice. Coherent.
  uint8_t* data() const { return data_; }

 private:
  DeviceMemory(Device& device, int64_t bytes) : device_(device), bytes_(bytes) {}
  absl::Status Make(int64_t buffer_bytes, MemoryKind kind);
  void Destroy();

  Device& device_;
  int64_t bytes_;
  BufferBinding binding_;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  uint64_t address_ = 0;
  uint8_t* data_ = nullptr;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_MEMORY_H_
