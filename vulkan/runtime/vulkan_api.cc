// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/vulkan_api.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft::vulkan {
namespace {

template <typename Get, typename Owner, typename Function>
absl::Status LoadOne(Get get, Owner owner, const char* name, Function& function) {
  function = reinterpret_cast<Function>(get(owner, name));
  if (function != nullptr) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("Vulkan has no function ", name));
}

std::string ResultName(VkResult result) {
  switch (result) {
#define WEFT_CASE(name) \
  case name:            \
    return #name
    WEFT_CASE(VK_NOT_READY);
    WEFT_CASE(VK_TIMEOUT);
    WEFT_CASE(VK_INCOMPLETE);
    WEFT_CASE(VK_ERROR_OUT_OF_HOST_MEMORY);
    WEFT_CASE(VK_ERROR_OUT_OF_DEVICE_MEMORY);
    WEFT_CASE(VK_ERROR_INITIALIZATION_FAILED);
    WEFT_CASE(VK_ERROR_DEVICE_LOST);
    WEFT_CASE(VK_ERROR_MEMORY_MAP_FAILED);
    WEFT_CASE(VK_ERROR_LAYER_NOT_PRESENT);
    WEFT_CASE(VK_ERROR_EXTENSION_NOT_PRESENT);
    WEFT_CASE(VK_ERROR_FEATURE_NOT_PRESENT);
    WEFT_CASE(VK_ERROR_INCOMPATIBLE_DRIVER);
    WEFT_CASE(VK_ERROR_TOO_MANY_OBJECTS);
    WEFT_CASE(VK_ERROR_FRAGMENTED_POOL);
    WEFT_CASE(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS);
    WEFT_CASE(VK_ERROR_UNKNOWN);
#undef WEFT_CASE
    default:
      return absl::StrCat("VkResult ", static_cast<int>(result));
  }
}

}  // namespace

#define WEFT_LOAD(name) RETURN_IF_ERROR(LoadOne(get, owner, "vk" #name, api.name));

absl::Status LoadGlobalApi(PFN_vkGetInstanceProcAddr get, GlobalApi& api) {
  VkInstance owner = VK_NULL_HANDLE;
  api.GetInstanceProcAddr = get;
  WEFT_VULKAN_GLOBAL_FUNCTIONS(WEFT_LOAD)
  return absl::OkStatus();
}

absl::Status LoadInstanceApi(PFN_vkGetInstanceProcAddr get, VkInstance owner, InstanceApi& api) {
  WEFT_VULKAN_INSTANCE_FUNCTIONS(WEFT_LOAD)
  api.CreateDebugUtilsMessengerEXT = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
      get(owner, "vkCreateDebugUtilsMessengerEXT"));
  api.DestroyDebugUtilsMessengerEXT = reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(
      get(owner, "vkDestroyDebugUtilsMessengerEXT"));
  return absl::OkStatus();
}

absl::Status LoadDeviceApi(PFN_vkGetDeviceProcAddr get, VkDevice owner, DeviceApi& api) {
  WEFT_VULKAN_DEVICE_FUNCTIONS(WEFT_LOAD)
  return absl::OkStatus();
}

#undef WEFT_LOAD

absl::Status ToStatus(VkResult result, const char* what) {
  if (result == VK_SUCCESS) return absl::OkStatus();
  std::string message = absl::StrCat(what, ": ", ResultName(result));
  switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
      return absl::ResourceExhaustedError(message);
    case VK_ERROR_DEVICE_LOST:
      return absl::AbortedError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace weft::vulkan
