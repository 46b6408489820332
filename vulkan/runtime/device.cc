// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/device.h"

#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "core/status_macros.h"
#include "vulkan/runtime/device_hooks.h"
#include "vulkan/runtime/instance.h"
#include "vulkan/runtime/physical_device.h"

namespace weft::vulkan {

Device::Device() = default;

absl::StatusOr<std::unique_ptr<Device>> Device::Create(std::shared_ptr<Instance> instance,
                                                       const PhysicalDevice& physical,
                                                       const DeviceHooks* hooks) {
  FeatureChain available;
  instance->api().GetPhysicalDeviceFeatures2(physical.handle, &available.base);
  if (hooks != nullptr && hooks->hide_optional) HideOptionalFeatures(available);
  FeatureChain enabled;
  ChooseFeatures(available, enabled);

  const float priority = 1.0f;
  VkDeviceQueueCreateInfo queue = {};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = physical.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  std::vector<const char*> extensions;
  if (hooks != nullptr) extensions = hooks->extensions;
  if (physical.limits.memory_budget) extensions.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  VkDeviceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &enabled.base;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  VkDevice handle = VK_NULL_HANDLE;
  RETURN_IF_ERROR(ToStatus(instance->api().CreateDevice(physical.handle, &info, nullptr, &handle),
                           "vkCreateDevice"));
  return Wrap(std::move(instance), physical, handle, VK_NULL_HANDLE, /*owns_handle=*/true, hooks);
}

absl::StatusOr<std::unique_ptr<Device>> Device::Wrap(std::shared_ptr<Instance> instance,
                                                     const PhysicalDevice& physical,
                                                     VkDevice handle, VkQueue queue,
                                                     bool owns_handle, const DeviceHooks* hooks) {
  auto device = absl::WrapUnique(new Device());
  device->instance_ = std::move(instance);
  device->handle_ = handle;
  device->owns_handle_ = owns_handle;
  device->physical_ = physical.handle;
  device->queue_family_ = physical.queue_family;
  device->limits_ = physical.limits;
  device->memory_ = physical.memory;
  device->properties_ = physical.properties;
  RETURN_IF_ERROR(LoadDeviceApi(device->instance_->api().GetDeviceProcAddr, handle, device->api_));
  {
    absl::MutexLock lock(&device->queue_mutex_);
    device->queue_ = queue;
    if (queue == VK_NULL_HANDLE) {
      device->api_.GetDeviceQueue(handle, physical.queue_family, 0, &device->queue_);
    }
  }
  if (hooks != nullptr && hooks->make_dispatch_hook != nullptr) {
    ASSIGN_OR_RETURN(device->dispatch_hook_, hooks->make_dispatch_hook(*device));
  }
  device->kernels_ = std::make_unique<KernelCache>(*device);
  RETURN_IF_ERROR(device->kernels_->Init());
  return device;
}

Device::~Device() {
  kernels_.reset();
  dispatch_hook_.reset();
  if (owns_handle_ && api_.DestroyDevice != nullptr) api_.DestroyDevice(handle_, nullptr);
}

absl::Status Device::Submit(absl::Span<const VkSubmitInfo2> submits) {
  RETURN_IF_ERROR(status());
  VkResult result = VK_SUCCESS;
  {
    absl::MutexLock lock(&queue_mutex_);
    result = api_.QueueSubmit2(queue_, static_cast<uint32_t>(submits.size()), submits.data(),
                               VK_NULL_HANDLE);
  }
  return Note(ToStatus(result, "vkQueueSubmit2"));
}

absl::Status Device::status() const {
  absl::MutexLock lock(&status_mutex_);
  return status_;
}

absl::Status Device::Note(absl::Status status) {
  if (!absl::IsAborted(status)) return status;
  absl::MutexLock lock(&status_mutex_);
  if (status_.ok()) status_ = std::move(status);
  return status_;
}

}  // namespace weft::vulkan
