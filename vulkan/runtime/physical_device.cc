// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/physical_device.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft::vulkan {
namespace {

#define WEFT_REQUIRED_FEATURES(X)  \
  X(base.features, shaderInt64)    \
  X(base.features, shaderInt16)    \
  X(v11, storageBuffer16BitAccess) \
  X(v12, storageBuffer8BitAccess)  \
  X(v12, shaderInt8)               \
  X(v12, bufferDeviceAddress)      \
  X(v12, timelineSemaphore)        \
  X(v12, scalarBlockLayout)        \
  X(v12, vulkanMemoryModel)        \
  X(v13, synchronization2)         \
  X(v13, subgroupSizeControl)      \
  X(v13, computeFullSubgroups)     \
  X(v13, maintenance4)

#define WEFT_OPTIONAL_FEATURES(X)      \
  X(v12, shaderFloat16)                \
  X(v12, vulkanMemoryModelDeviceScope) \
  X(v12, shaderSubgroupExtendedTypes)

struct SubgroupOperation {
  VkSubgroupFeatureFlagBits bit;
  const char* name;
};
constexpr SubgroupOperation kSubgroupOperations[] = {
    {VK_SUBGROUP_FEATURE_BASIC_BIT, "basic"},
    {VK_SUBGROUP_FEATURE_ARITHMETIC_BIT, "arithmetic"},
    {VK_SUBGROUP_FEATURE_BALLOT_BIT, "ballot"},
    {VK_SUBGROUP_FEATURE_SHUFFLE_BIT, "shuffle"},
};

absl::Status CheckSubgroups(const VkPhysicalDeviceVulkan11Properties& properties) {
  if ((properties.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) == 0) {
    return absl::UnimplementedError("no subgroup operations in compute shaders");
  }
  for (const SubgroupOperation& operation : kSubgroupOperations) {
    if ((properties.subgroupSupportedOperations & operation.bit) == 0) {
      return absl::UnimplementedError(
          absl::StrCat("no subgroup ", operation.name, " operations in compute shaders"));
    }
  }
  return absl::OkStatus();
}

absl::Status ChooseQueueFamily(const Instance& instance, std::optional<uint32_t> wanted,
                               PhysicalDevice& device) {
  uint32_t count = 0;
  instance.api().GetPhysicalDeviceQueueFamilyProperties(device.handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  instance.api().GetPhysicalDeviceQueueFamilyProperties(device.handle, &count, families.data());
  for (uint32_t i = 0; i < count; ++i) {
    if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0 || i != wanted.value_or(i)) continue;
    device.queue_family = i;
    device.limits.timestamp_bits = families[i].timestampValidBits;
    return absl::OkStatus();
  }
  return absl::UnimplementedError(wanted.has_value()
                                      ? absl::StrCat("queue family ", *wanted, " has no compute")
                                      : std::string("no compute queue"));
}

absl::StatusOr<bool> HasExtension(const Instance& instance, VkPhysicalDevice device,
                                  const char* name) {
  uint32_t count = 0;
  RETURN_IF_ERROR(
      ToStatus(instance.api().EnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr),
               "vkEnumerateDeviceExtensionProperties"));
  std::vector<VkExtensionProperties> extensions(count);
  RETURN_IF_ERROR(ToStatus(
      instance.api().EnumerateDeviceExtensionProperties(device, nullptr, &count, extensions.data()),
      "vkEnumerateDeviceExtensionProperties"));
  return std::any_of(extensions.begin(), extensions.end(), [&](const VkExtensionProperties& e) {
    return std::strcmp(e.extensionName, name) == 0;
  });
}

void FillLimits(const VkPhysicalDeviceProperties& properties,
                const VkPhysicalDeviceVulkan11Properties& v11,
                const VkPhysicalDeviceVulkan13Properties& v13, const FeatureChain& features,
                DeviceLimits& limits) {
  const VkPhysicalDeviceLimits& l = properties.limits;
  limits.api_version = properties.apiVersion;
  limits.is_software = properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  limits.subgroup_size = v11.subgroupSize;
  limits.min_subgroup_size = v13.minSubgroupSize;
  limits.max_subgroup_size = v13.maxSubgroupSize;
  limits.subgroup_size_selectable =
      (v13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
  limits.max_shared_memory_bytes = l.maxComputeSharedMemorySize;
  limits.max_invocations = l.maxComputeWorkGroupInvocations;
  limits.max_subgroups = v13.maxComputeWorkgroupSubgroups;
  std::copy_n(l.maxComputeWorkGroupSize, 3, limits.max_group_size.begin());
  std::copy_n(l.maxComputeWorkGroupCount, 3, limits.max_group_count.begin());
  limits.max_allocation_bytes = static_cast<int64_t>(std::min<uint64_t>(
      {v11.maxMemoryAllocationSize, v13.maxBufferSize, static_cast<uint64_t>(INT64_MAX)}));
  limits.shader_float16 = features.v12.shaderFloat16;
  limits.timestamp_period_ns = l.timestampPeriod;
}

// The heap of the type that buffers come from: the first device-local one.
void FillMemory(const Instance& instance, PhysicalDevice& device) {
  VkPhysicalDeviceMemoryProperties2 memory = {};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  instance.api().GetPhysicalDeviceMemoryProperties2(device.handle, &memory);
  device.memory = memory.memoryProperties;
  uint32_t heap = 0;
  for (uint32_t i = device.memory.memoryTypeCount; i-- > 0;) {
    const VkMemoryType& type = device.memory.memoryTypes[i];
    if (type.propertyFlags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) heap = type.heapIndex;
  }
  device.limits.memory_bytes = static_cast<int64_t>(device.memory.memoryHeaps[heap].size);
}

}  // namespace

FeatureChain::FeatureChain() {
  base.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
  base.pNext = &v11;
  v11.pNext = &v12;
  v12.pNext = &v13;
}

absl::Span<const char* const> RequiredFeatureNames() {
#define WEFT_NAME(part, name) #name,
  static constexpr const char* kNames[] = {WEFT_REQUIRED_FEATURES(WEFT_NAME)};
#undef WEFT_NAME
  return kNames;
}

const char* FirstMissingFeature(const FeatureChain& available) {
#define WEFT_CHECK(part, name) \
  if (!available.part.name) return #name;
  WEFT_REQUIRED_FEATURES(WEFT_CHECK)
#undef WEFT_CHECK
  return nullptr;
}

void ChooseFeatures(const FeatureChain& available, FeatureChain& enabled) {
#define WEFT_ENABLE(part, name) enabled.part.name = available.part.name;
  WEFT_REQUIRED_FEATURES(WEFT_ENABLE)
  WEFT_OPTIONAL_FEATURES(WEFT_ENABLE)
#undef WEFT_ENABLE
}

void HideOptionalFeatures(FeatureChain& available) {
#define WEFT_HIDE(part, name) available.part.name = VK_FALSE;
  WEFT_OPTIONAL_FEATURES(WEFT_HIDE)
#undef WEFT_HIDE
}

void HideOptional(PhysicalDevice& device) {
  DeviceLimits& limits = device.limits;
  limits.shader_float16 = false;
  limits.memory_budget = false;
  limits.timestamp_bits = 0;
  limits.subgroup_size_selectable = false;
  // vulkan.md, 6.1, and the minima of the Vulkan specification.
  limits.max_shared_memory_bytes = std::min<int64_t>(limits.max_shared_memory_bytes, 16384);
  limits.max_invocations = std::min(limits.max_invocations, 256u);
  const std::array<uint32_t, 3> group_size = {256, 256, 64};
  for (int axis = 0; axis < 3; ++axis) {
    limits.max_group_size[axis] = std::min(limits.max_group_size[axis], group_size[axis]);
    limits.max_group_count[axis] = std::min(limits.max_group_count[axis], 65535u);
  }
}

absl::Status Describe(const Instance& instance, VkPhysicalDevice handle, PhysicalDevice& device,
                      std::optional<uint32_t> queue_family) {
  device.handle = handle;
  VkPhysicalDeviceProperties plain = {};
  instance.api().GetPhysicalDeviceProperties(handle, &plain);
  device.name = plain.deviceName;
  // An older device would not know the structures below.
  if (plain.apiVersion < VK_API_VERSION_1_3) {
    return absl::UnimplementedError(absl::StrCat("Vulkan ", VK_API_VERSION_MAJOR(plain.apiVersion),
                                                 ".", VK_API_VERSION_MINOR(plain.apiVersion),
                                                 ", needed is 1.3"));
  }

  VkPhysicalDeviceVulkan13Properties v13 = {};
  v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES;
  VkPhysicalDeviceVulkan12Properties v12 = {};
  v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
  v12.pNext = &v13;
  VkPhysicalDeviceVulkan11Properties v11 = {};
  v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  v11.pNext = &v12;
  VkPhysicalDeviceProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = &v11;
  instance.api().GetPhysicalDeviceProperties2(handle, &properties);
  device.properties = properties.properties;
  device.driver = absl::StrCat(v12.driverName, " ", v12.driverInfo);

  FeatureChain features;
  instance.api().GetPhysicalDeviceFeatures2(handle, &features.base);
  if (const char* missing = FirstMissingFeature(features); missing != nullptr) {
    return absl::UnimplementedError(absl::StrCat("no feature ", missing));
  }
  RETURN_IF_ERROR(CheckSubgroups(v11));
  RETURN_IF_ERROR(ChooseQueueFamily(instance, queue_family, device));
  FillLimits(device.properties, v11, v13, features, device.limits);
  FillMemory(instance, device);
  ASSIGN_OR_RETURN(device.limits.memory_budget,
                   HasExtension(instance, handle, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PhysicalDevice>> EnumeratePhysicalDevices(const Instance& instance) {
  uint32_t count = 0;
  RETURN_IF_ERROR(
      ToStatus(instance.api().EnumeratePhysicalDevices(instance.handle(), &count, nullptr),
               "vkEnumeratePhysicalDevices"));
  std::vector<VkPhysicalDevice> handles(count);
  RETURN_IF_ERROR(
      ToStatus(instance.api().EnumeratePhysicalDevices(instance.handle(), &count, handles.data()),
               "vkEnumeratePhysicalDevices"));

  std::vector<PhysicalDevice> devices;
  std::string left_out;
  for (VkPhysicalDevice handle : handles) {
    PhysicalDevice device;
    if (absl::Status status = Describe(instance, handle, device); status.ok()) {
      devices.push_back(std::move(device));
    } else {
      absl::StrAppend(&left_out, left_out.empty() ? "" : "; ", device.name, ": ", status.message());
    }
  }
  if (devices.empty()) {
    return absl::UnavailableError(
        left_out.empty() ? "Vulkan has no device"
                         : absl::StrCat("no Vulkan device that weft can use (", left_out, ")"));
  }
  std::stable_sort(devices.begin(), devices.end(),
                   [](const PhysicalDevice& a, const PhysicalDevice& b) {
                     return !a.limits.is_software && b.limits.is_software;
                   });
  return devices;
}

}  // namespace weft::vulkan
