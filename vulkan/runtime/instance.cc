// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/instance.h"

#include <cstring>

#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/status_macros.h"
#include "vulkan/runtime/loader.h"

namespace weft::vulkan {
namespace {

constexpr char kValidationLayer[] = "VK_LAYER_KHRONOS_validation";

struct Messages {
  absl::Mutex mutex;
  int64_t count ABSL_GUARDED_BY(mutex) = 0;
  std::vector<std::string> first ABSL_GUARDED_BY(mutex);
};

Messages& TheMessages() {
  static absl::NoDestructor<Messages> messages;
  return *messages;
}

VKAPI_ATTR VkBool32 VKAPI_CALL OnMessage(VkDebugUtilsMessageSeverityFlagBitsEXT,
                                         VkDebugUtilsMessageTypeFlagsEXT,
                                         const VkDebugUtilsMessengerCallbackDataEXT* data, void*) {
  Messages& messages = TheMessages();
  absl::MutexLock lock(&messages.mutex);
  ++messages.count;
  if (messages.first.size() < 20) messages.first.push_back(data->pMessage);
  return VK_FALSE;
}

VkDebugUtilsMessengerCreateInfoEXT MessengerInfo() {
  VkDebugUtilsMessengerCreateInfoEXT info = {};
  info.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  info.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                         VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  // Not GENERAL: the loader's complaints about drivers of other devices are no business of ours.
  info.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                     VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  info.pfnUserCallback = OnMessage;
  return info;
}

absl::Status CheckValidationLayer(const GlobalApi& api) {
  uint32_t count = 0;
  RETURN_IF_ERROR(ToStatus(api.EnumerateInstanceLayerProperties(&count, nullptr),
                           "vkEnumerateInstanceLayerProperties"));
  std::vector<VkLayerProperties> layers(count);
  RETURN_IF_ERROR(ToStatus(api.EnumerateInstanceLayerProperties(&count, layers.data()),
                           "vkEnumerateInstanceLayerProperties"));
  for (const VkLayerProperties& layer : layers) {
    if (std::strcmp(layer.layerName, kValidationLayer) == 0) return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("no Vulkan layer ", kValidationLayer, "; VK_LAYER_PATH names its folder"));
}

}  // namespace

int64_t ValidationMessageCount() {
  Messages& messages = TheMessages();
  absl::MutexLock lock(&messages.mutex);
  return messages.count;
}

std::vector<std::string> ValidationMessages() {
  Messages& messages = TheMessages();
  absl::MutexLock lock(&messages.mutex);
  return messages.first;
}

absl::StatusOr<std::shared_ptr<Instance>> Instance::Create(bool enable_validation) {
  ASSIGN_OR_RETURN(const GlobalApi* global, OpenLoader());
  uint32_t version = 0;
  RETURN_IF_ERROR(
      ToStatus(global->EnumerateInstanceVersion(&version), "vkEnumerateInstanceVersion"));
  if (version < VK_API_VERSION_1_3) {
    return absl::UnavailableError(absl::StrCat("the Vulkan loader is of version ",
                                               VK_API_VERSION_MAJOR(version), ".",
                                               VK_API_VERSION_MINOR(version), ", needed is 1.3"));
  }

  VkApplicationInfo application = {};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pEngineName = "weft";
  application.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  const char* layer = kValidationLayer;
  const char* extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  const VkDebugUtilsMessengerCreateInfoEXT messenger = MessengerInfo();
  if (enable_validation) {
    RETURN_IF_ERROR(CheckValidationLayer(*global));
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &layer;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &extension;
    info.pNext = &messenger;
  }

  auto instance = absl::WrapUnique(new Instance());
  if (VkResult result = global->CreateInstance(&info, nullptr, &instance->handle_);
      result != VK_SUCCESS) {
    return absl::UnavailableError(absl::StrCat(
        "no Vulkan driver that works here (", ToStatus(result, "vkCreateInstance").message(), ")"));
  }
  instance->owned_ = true;
  RETURN_IF_ERROR(LoadInstanceApi(global->GetInstanceProcAddr, instance->handle_, instance->api_));
  if (enable_validation) {
    RETURN_IF_ERROR(ToStatus(instance->api_.CreateDebugUtilsMessengerEXT(
                                 instance->handle_, &messenger, nullptr, &instance->messenger_),
                             "vkCreateDebugUtilsMessengerEXT"));
  }
  return std::shared_ptr<Instance>(std::move(instance));
}

absl::StatusOr<std::shared_ptr<Instance>> Instance::Adopt(PFN_vkGetInstanceProcAddr get,
                                                          VkInstance handle) {
  auto instance = absl::WrapUnique(new Instance());
  instance->handle_ = handle;
  RETURN_IF_ERROR(LoadInstanceApi(get, handle, instance->api_));
  return std::shared_ptr<Instance>(std::move(instance));
}

Instance::~Instance() {
  if (!owned_ || api_.DestroyInstance == nullptr) return;
  if (messenger_ != VK_NULL_HANDLE) {
    api_.DestroyDebugUtilsMessengerEXT(handle_, messenger_, nullptr);
  }
  api_.DestroyInstance(handle_, nullptr);
}

}  // namespace weft::vulkan
