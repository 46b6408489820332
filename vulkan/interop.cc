// SPDX-License-Identifier: Apache-2.0
#include "vulkan/interop.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "vulkan/backend_impl.h"
#include "vulkan/runtime/instance.h"
#include "vulkan/runtime/physical_device.h"

namespace weft::vulkan {

std::vector<std::string> RequiredFeatures() {
  return {RequiredFeatureNames().begin(), RequiredFeatureNames().end()};
}

absl::StatusOr<std::shared_ptr<Backend>> AdoptDevice(const AdoptedDevice& adopted,
                                                     int32_t ordinal) {
  const std::pair<const char*, const void*> needed[] = {
      {"instance", adopted.instance},
      {"physical_device", adopted.physical_device},
      {"device", adopted.device},
      {"get_instance_proc_addr", adopted.get_instance_proc_addr}};
  for (const auto& [name, handle] : needed) {
    if (handle == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("adopted device: ", name, " is null"));
    }
  }
  auto get = reinterpret_cast<PFN_vkGetInstanceProcAddr>(adopted.get_instance_proc_addr);
  ASSIGN_OR_RETURN(std::shared_ptr<Instance> instance, Instance::Adopt(get, adopted.instance));
  PhysicalDevice physical;
  RETURN_IF_ERROR(Describe(*instance, adopted.physical_device, physical, adopted.queue_family));
  // The caller may not have enabled what is optional.
  physical.limits.memory_budget = false;
  physical.limits.shader_float16 = false;
  ASSIGN_OR_RETURN(std::unique_ptr<Device> device,
                   Device::Wrap(std::move(instance), physical, adopted.device, adopted.queue,
                                /*owns_handle=*/false));
  return VulkanBackend::Create(DescribeDevice(physical, ordinal), std::move(device), {});
}

absl::StatusOr<std::unique_ptr<Buffer>> ImportBuffer(Backend& backend, VkBuffer_T* buffer,
                                                     int64_t bytes) {
  if (backend.device().kind != BackendKind::kVulkan) {
    return absl::InvalidArgumentError(
        absl::StrCat("import of a VkBuffer: ", ToString(backend.device()), " is no Vulkan device"));
  }
  return static_cast<VulkanBackend&>(backend).Import(buffer, bytes);
}

}  // namespace weft::vulkan
