// SPDX-License-Identifier: Apache-2.0
//
// Instance: a VkInstance, with the validation layer if asked for.
#ifndef WEFT_VULKAN_RUNTIME_INSTANCE_H_
#define WEFT_VULKAN_RUNTIME_INSTANCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vulkan/runtime/vulkan_api.h"

namespace weft::vulkan {

// Warnings and errors of the validation layer in this process, of all instances together; and the
// first 20 of them. Thread-safe.
int64_t ValidationMessageCount();
std::vector<std::string> ValidationMessages();

class Instance {
 public:
  // UNAVAILABLE: no loader, no driver, Vulkan older than 1.3, no validation layer though asked for.
  static absl::StatusOr<std::shared_ptr<Instance>> Create(bool enable_validation);
  // A caller's instance, which it goes on owning.
  static absl::StatusOr<std::shared_ptr<Instance>> Adopt(PFN_vkGetInstanceProcAddr get,
                                                         VkInstance handle);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  VkInstance handle() const { return handle_; }
  const InstanceApi& api() const { return api_; }

 private:
  Instance() = default;

  VkInstance handle_ = VK_NULL_HANDLE;
  bool owned_ = false;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  InstanceApi api_;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_INSTANCE_H_
