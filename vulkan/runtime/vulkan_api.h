// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan functions that weft calls, as tables of pointers. Nothing is linked: a program starts
// on a machine without Vulkan, and a caller's own device brings its own functions (vulkan.md, 3.2).
#ifndef WEFT_VULKAN_RUNTIME_VULKAN_API_H_
#define WEFT_VULKAN_RUNTIME_VULKAN_API_H_

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan_core.h>

#include "absl/status/status.h"

namespace weft::vulkan {

#define WEFT_VULKAN_GLOBAL_FUNCTIONS(X) \
  X(CreateInstance)                     \
  X(EnumerateInstanceVersion)           \
  X(EnumerateInstanceLayerProperties)   \
  X(EnumerateInstanceExtensionProperties)

#define WEFT_VULKAN_INSTANCE_FUNCTIONS(X) \
  X(CreateDevice)                         \
  X(DestroyInstance)                      \
  X(EnumerateDeviceExtensionProperties)   \
  X(EnumeratePhysicalDevices)             \
  X(GetDeviceProcAddr)                    \
  X(GetPhysicalDeviceFeatures2)           \
  X(GetPhysicalDeviceMemoryProperties2)   \
  X(GetPhysicalDeviceProperties)          \
  X(GetPhysicalDeviceProperties2)         \
  X(GetPhysicalDeviceQueueFamilyProperties)

#define WEFT_VULKAN_DEVICE_FUNCTIONS(X) \
  X(AllocateCommandBuffers)             \
  X(AllocateMemory)                     \
  X(BeginCommandBuffer)                 \
  X(BindBufferMemory)                   \
  X(CmdBindPipeline)                    \
  X(CmdCopyBuffer)                      \
  X(CmdDispatch)                        \
  X(CmdFillBuffer)                      \
  X(CmdPipelineBarrier2)                \
  X(CmdPushConstants)                   \
  X(CmdResetQueryPool)                  \
  X(CmdWriteTimestamp2)                 \
  X(CreateBuffer)                       \
  X(CreateCommandPool)                  \
  X(CreateComputePipelines)             \
  X(CreatePipelineCache)                \
  X(CreatePipelineLayout)               \
  X(CreateQueryPool)                    \
  X(CreateSemaphore)                    \
  X(CreateShaderModule)                 \
  X(DestroyBuffer)                      \
  X(DestroyCommandPool)                 \
  X(DestroyDevice)                      \
  X(DestroyPipeline)                    \
  X(DestroyPipelineCache)               \
  X(DestroyPipelineLayout)              \
  X(DestroyQueryPool)                   \
  X(DestroySemaphore)                   \
  X(DestroyShaderModule)                \
  X(DeviceWaitIdle)                     \
  X(EndCommandBuffer)                   \
  X(FreeMemory)                         \
  X(GetBufferDeviceAddress)             \
  X(GetBufferMemoryRequirements)        \
  X(GetDeviceQueue)                     \
  X(GetPipelineCacheData)               \
  X(GetQueryPoolResults)                \
  X(GetSemaphoreCounterValue)           \
  X(MapMemory)                          \
  X(MergePipelineCaches)                \
  X(QueueSubmit2)                       \
  X(ResetCommandBuffer)                 \
  X(WaitSemaphores)

#define WEFT_VULKAN_MEMBER(name) PFN_vk##name name = nullptr;
struct GlobalApi {
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr = nullptr;
  WEFT_VULKAN_GLOBAL_FUNCTIONS(WEFT_VULKAN_MEMBER)
};
struct InstanceApi {
  WEFT_VULKAN_INSTANCE_FUNCTIONS(WEFT_VULKAN_MEMBER)
  // Null without VK_EXT_debug_utils.
  PFN_vkCreateDebugUtilsMessengerEXT CreateDebugUtilsMessengerEXT = nullptr;
  PFN_vkDestroyDebugUtilsMessengerEXT DestroyDebugUtilsMessengerEXT = nullptr;
};
struct DeviceApi {
  WEFT_VULKAN_DEVICE_FUNCTIONS(WEFT_VULKAN_MEMBER)
};
#undef WEFT_VULKAN_MEMBER

// Fill a table; UNAVAILABLE names the function that is not there.
absl::Status LoadGlobalApi(PFN_vkGetInstanceProcAddr get, GlobalApi& api);
absl::Status LoadInstanceApi(PFN_vkGetInstanceProcAddr get, VkInstance instance, InstanceApi& api);
absl::Status LoadDeviceApi(PFN_vkGetDeviceProcAddr get, VkDevice device, DeviceApi& api);

// OK for VK_SUCCESS. Out of memory is RESOURCE_EXHAUSTED, a lost device ABORTED, the rest INTERNAL;
// the message is "<what>: VK_ERROR_...".
absl::Status ToStatus(VkResult result, const char* what);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_VULKAN_API_H_
