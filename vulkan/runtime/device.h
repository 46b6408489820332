// SPDX-License-Identifier: Apache-2.0
//
// Device: one VkDevice and its compute queue, shared by buffers and command streams. What a kernel
// must know of it stands in DeviceLimits.
#ifndef WEFT_VULKAN_RUNTIME_DEVICE_H_
#define WEFT_VULKAN_RUNTIME_DEVICE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "vulkan/runtime/kernel.h"
#include "vulkan/runtime/vulkan_api.h"

namespace weft::vulkan {

struct DeviceHooks;     // vulkan/runtime/device_hooks.h
class DispatchHook;     // vulkan/runtime/device_hooks.h
struct PhysicalDevice;  // vulkan/runtime/physical_device.h
class Instance;         // vulkan/runtime/instance.h

struct DeviceLimits {
  uint32_t api_version = 0;
  bool is_software = false;

  uint32_t subgroup_size = 0;  // the default
  uint32_t min_subgroup_size = 0;
  uint32_t max_subgroup_size = 0;
  bool subgroup_size_selectable = false;  // any power of two in [min, max] can be required

  int64_t max_shared_memory_bytes = 0;
  uint32_t max_invocations = 0;  // of a workgroup
  uint32_t max_subgroups = 0;    // of a workgroup, where the size is required
  std::array<uint32_t, 3> max_group_size = {};
  std::array<uint32_t, 3> max_group_count = {};

  int64_t max_allocation_bytes = 0;
  int64_t memory_bytes = 0;  // of the heap that buffers come from

  // Optional features; enabled where they are there.
  bool shader_float16 = false;
  bool memory_budget = false;

  uint32_t timestamp_bits = 0;  // 0: no timestamps
  double timestamp_period_ns = 0.0;
};

// Thread-safe.
class Device {
 public:
  // Slow. UNIMPLEMENTED names the feature that the device lacks. `hooks`: null outside of tests.
  static absl::StatusOr<std::unique_ptr<Device>> Create(std::shared_ptr<Instance> instance,
                                                        const PhysicalDevice& physical,
                                                        const DeviceHooks* hooks = nullptr);
  // A VkDevice that exists, with what weft needs enabled on it. A null queue stands for the first
  // of physical.queue_family.
  static absl::StatusOr<std::unique_ptr<Device>> Wrap(std::shared_ptr<Instance> instance,
                                                      const PhysicalDevice& physical,
                                                      VkDevice handle, VkQueue queue,
                                                      bool owns_handle,
                                                      const DeviceHooks* hooks = nullptr);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceLimits& limits() const { return limits_; }
  KernelCache& kernels() { return *kernels_; }

  // What the rest of the runtime uses.
  const DeviceApi& api() const { return api_; }
  const Instance& instance() const { return *instance_; }
  VkPhysicalDevice physical() const { return physical_; }
  VkDevice handle() const { return handle_; }
  uint32_t queue_family() const { return queue_family_; }
  const VkPhysicalDeviceMemoryProperties& memory() const { return memory_; }
  const VkPhysicalDeviceProperties& properties() const { return properties_; }
  DispatchHook* dispatch_hook() const { return dispatch_hook_.get(); }  // null outside of tests

  // One call at a time. A lost device is remembered: see status().
  absl::Status Submit(absl::Span<const VkSubmitInfo2> submits);

  // OK, or the error that the device died of.
  absl::Status status() const;
  // Remembers the error if it is the device's end; returns it.
  absl::Status Note(absl::Status status);

 private:
  Device();

  std::shared_ptr<Instance> instance_;
  DeviceApi api_;
  VkDevice handle_ = VK_NULL_HANDLE;
  bool owns_handle_ = false;
  VkPhysicalDevice physical_ = VK_NULL_HANDLE;
  uint32_t queue_family_ = 0;
  DeviceLimits limits_;
  VkPhysicalDeviceMemoryProperties memory_ = {};
  VkPhysicalDeviceProperties properties_ = {};
  std::unique_ptr<DispatchHook> dispatch_hook_;
  std::unique_ptr<KernelCache> kernels_;

  absl::Mutex queue_mutex_;
  VkQueue queue_ ABSL_GUARDED_BY(queue_mutex_) = VK_NULL_HANDLE;
  mutable absl::Mutex status_mutex_;
  absl::Status status_ ABSL_GUARDED_BY(status_mutex_);
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_DEVICE_H_
