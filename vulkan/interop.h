// SPDX-License-Identifier: Apache-2.0
//
// A caller's own Vulkan device and buffers, used by weft. Handles are forward-declared, so that no
// Vulkan header comes along.
//
//   vulkan::AdoptedDevice adopted = ...;                      // what the caller made
//   ASSIGN_OR_RETURN(auto backend, vulkan::AdoptDevice(adopted, /*ordinal=*/100));
//   ASSIGN_OR_RETURN(auto query, vulkan::ImportBuffer(*backend, buffer, bytes));
//
// Command buffers, semaphores and memory of other processes are still to come.
#ifndef WEFT_VULKAN_INTEROP_H_
#define WEFT_VULKAN_INTEROP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/backend.h"

struct VkInstance_T;
struct VkPhysicalDevice_T;
struct VkDevice_T;
struct VkQueue_T;
struct VkBuffer_T;

namespace weft::vulkan {

// All of it stays the caller's, and must outlive the backend. The device must have been created
// with RequiredFeatures(): Vulkan cannot be asked what was enabled. weft submits to one queue and
// never idles the device; the caller does not touch that queue while a weft queue submits.
struct AdoptedDevice {
  VkInstance_T* instance = nullptr;
  VkPhysicalDevice_T* physical_device = nullptr;
  VkDevice_T* device = nullptr;
  // The caller's vkGetInstanceProcAddr.
  void* get_instance_proc_addr = nullptr;
  uint32_t queue_family = 0;   // with compute
  VkQueue_T* queue = nullptr;  // null: the family's first
};

// The names of the features, as in Vulkan's structures, that an adopted device must have enabled.
std::vector<std::string> RequiredFeatures();

// A backend on it, "vulkan:<ordinal>"; an ordinal that no other backend of the process has, so that
// views of different devices are told apart. INVALID_ARGUMENT names a missing handle.
// UNIMPLEMENTED names what the physical device lacks.
absl::StatusOr<std::shared_ptr<Backend>> AdoptDevice(const AdoptedDevice& adopted, int32_t ordinal);

// The first `bytes` of a caller's VkBuffer on that device, which must outlive the Buffer. It needs
// STORAGE, TRANSFER_SRC, TRANSFER_DST and SHADER_DEVICE_ADDRESS usage, and memory allocated with
// the device-address flag. INVALID_ARGUMENT: no Vulkan backend, no bytes, no address, or a buffer
// that is known already.
absl::StatusOr<std::unique_ptr<Buffer>> ImportBuffer(Backend& backend, VkBuffer_T* buffer,
                                                     int64_t bytes);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_INTEROP_H_
