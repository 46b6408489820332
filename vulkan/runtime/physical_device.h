// SPDX-License-Identifier: Apache-2.0
//
// The devices of an instance: what each can do, and what weft needs of it (vulkan.md, 6.1).
#ifndef WEFT_VULKAN_RUNTIME_PHYSICAL_DEVICE_H_
#define WEFT_VULKAN_RUNTIME_PHYSICAL_DEVICE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/instance.h"
#include "vulkan/runtime/vulkan_api.h"

namespace weft::vulkan {

// The feature structures of Vulkan 1.3, linked. Pinned to its place by those links.
struct FeatureChain {
  FeatureChain();
  FeatureChain(const FeatureChain&) = delete;
  FeatureChain& operator=(const FeatureChain&) = delete;

  VkPhysicalDeviceFeatures2 base = {};
  VkPhysicalDeviceVulkan11Features v11 = {};
  VkPhysicalDeviceVulkan12Features v12 = {};
  VkPhysicalDeviceVulkan13Features v13 = {};
};

// What weft needs, as the structures' members are called.
absl::Span<const char* const> RequiredFeatureNames();

// The name of the first feature that weft needs and `available` lacks; null if there is none.
const char* FirstMissingFeature(const FeatureChain& available);

// Leaves only what weft needs. For tests.
void HideOptionalFeatures(FeatureChain& available);

// Sets in `enabled` what weft needs, and those it can use of what is available.
void ChooseFeatures(const FeatureChain& available, FeatureChain& enabled);

struct PhysicalDevice {
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  std::string name;
  std::string driver;  // name and version
  uint32_t queue_family = 0;
  VkPhysicalDeviceProperties properties = {};
  VkPhysicalDeviceMemoryProperties memory = {};
  DeviceLimits limits;
};

// OK, or UNIMPLEMENTED naming what the device lacks; then only handle and name are filled in. Takes
// the first queue family with compute, unless one is given.
absl::Status Describe(const Instance& instance, VkPhysicalDevice handle, PhysicalDevice& device,
                      std::optional<uint32_t> queue_family = std::nullopt);

// The device as the poorest one that weft accepts; see DeviceHooks. For tests.
void HideOptional(PhysicalDevice& device);

// The devices that weft can use: GPUs before software devices, otherwise in the loader's order.
// UNAVAILABLE if there is none, naming each device that was left out and why.
absl::StatusOr<std::vector<PhysicalDevice>> EnumeratePhysicalDevices(const Instance& instance);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_PHYSICAL_DEVICE_H_
