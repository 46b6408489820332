// SPDX-License-Identifier: Apache-2.0
//
// What tests put between weft and a device: faults, poorer devices, and an observer of dispatches.
// Programs have none of it.
#ifndef WEFT_VULKAN_RUNTIME_DEVICE_HOOKS_H_
#define WEFT_VULKAN_RUNTIME_DEVICE_HOOKS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/address_map.h"
#include "vulkan/runtime/hazard_tracker.h"
#include "vulkan/runtime/kernel.h"
#include "vulkan/runtime/vulkan_api.h"

namespace weft::vulkan {

// Gives every kernel of a device a descriptor set 0, and sees every dispatch. Used by many threads.
class DispatchHook {
 public:
  virtual ~DispatchHook() = default;

  virtual VkDescriptorSetLayout set_layout() const = 0;
  // What to compile in place of `module`.
  virtual absl::StatusOr<absl::Span<const uint32_t>> WordsFor(const ShaderModule& module) = 0;
  // Called where the dispatch is about to be recorded, its pipeline bound.
  virtual absl::Status BeforeDispatch(VkCommandBuffer commands, VkPipelineLayout layout,
                                      const Kernel& kernel, absl::Span<const Access> accesses,
                                      const AddressMap& allocations) = 0;
};

// May be shared by the streams of one thread.
struct StreamFaults {
  bool suppress_barriers = false;
  bool lose_device_at_submit = false;
  // Which barrier between operations is left out, counted from 0; -1: none.
  int64_t suppressed_barrier = -1;
  int64_t barriers_needed = 0;  // so far
};

struct DeviceHooks {
  // The device looks like the poorest one that weft accepts: no optional feature, no timestamps, no
  // choice of subgroup size, and Vulkan's minimal limits.
  bool hide_optional = false;
  // A software device says that it is a GPU, and so runs the kernels' shapes for GPUs.
  bool pretend_gpu = false;
  // Makes the hook of a device; destroyed before it. Needs `extensions`.
  absl::StatusOr<std::unique_ptr<DispatchHook>> (*make_dispatch_hook)(const Device&) = nullptr;
  std::vector<const char*> extensions;
  // Outlives all streams; null: none.
  StreamFaults* stream_faults = nullptr;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_DEVICE_HOOKS_H_
