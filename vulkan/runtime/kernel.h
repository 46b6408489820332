// SPDX-License-Identifier: Apache-2.0
//
// Kernel: a compute pipeline, made once and then only dispatched. KernelCache: all those of a
// device, found by what they are made of.
//
// The shader ABI is one push constant, the 64-bit address of a parameter block; there are no
// descriptors (vulkan.md, 6.2):
//
//   layout(push_constant, scalar) uniform Push { uint64_t params; };
#ifndef WEFT_VULKAN_RUNTIME_KERNEL_H_
#define WEFT_VULKAN_RUNTIME_KERNEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "vulkan/runtime/vulkan_api.h"

namespace weft::vulkan {

class Device;

// SPIR-V with one entry point, "main". Static storage: a KernelCache knows a module by its address.
struct ShaderModule {
  const char* name;
  absl::Span<const uint32_t> words;
};

// What a pipeline is made of.
struct KernelKey {
  const ShaderModule* module = nullptr;
  std::vector<uint32_t> specialization;  // constant_id 0, 1, 2, ...
  uint32_t subgroup_size = 0;            // 0: the device's default
};

// Owned by the device's KernelCache, and lives as long as the device.
class Kernel {
 public:
  Kernel(const ShaderModule* module, VkPipeline pipeline) : module_(module), pipeline_(pipeline) {}

  const char* name() const { return module_->name; }
  VkPipeline pipeline() const { return pipeline_; }

 private:
  const ShaderModule* module_;
  VkPipeline pipeline_;
};

// Pipelines created in this process, and by this thread, on all devices.
int64_t TotalPipelineCount();
int64_t ThreadPipelineCount();

// Thread-safe.
class KernelCache {
 public:
  explicit KernelCache(const Device& device);
  ~KernelCache();
  KernelCache(const KernelCache&) = delete;
  KernelCache& operator=(const KernelCache&) = delete;

  // Creates the two objects that all kernels share. Once, before the first Get.
  absl::Status Init();

  // Compiles (slow; blocks) or finds. The subgroup size is always fixed, full subgroups are asked
  // for where the local size allows it. INVALID_ARGUMENT: words that are no compute module.
  // UNIMPLEMENTED names the device limit that the kernel exceeds: subgroup size, invocations, local
  // size, shared memory.
  absl::StatusOr<const Kernel*> Get(const KernelKey& key);

  // Of every kernel: one push constant of 8 bytes.
  VkPipelineLayout layout() const { return layout_; }

  // Pipelines created so far.
  int64_t count() const;

  // What the driver compiled, to be given to Load in a later process.
  absl::StatusOr<std::vector<uint8_t>> Save() const;
  // INVALID_ARGUMENT: not such a blob. FAILED_PRECONDITION: of another device or driver; names
  // which.
  absl::Status Load(absl::Span<const uint8_t> blob);

 private:
  using Id = std::tuple<const ShaderModule*, std::vector<uint32_t>, uint32_t>;
  struct Entry {
    absl::Mutex mutex;  // held while compiling, so that two callers do not compile the same
    std::unique_ptr<Kernel> kernel ABSL_GUARDED_BY(mutex);
  };

  absl::StatusOr<VkPipeline> Compile(const KernelKey& key, uint32_t subgroup_size) const;

  const Device& device_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  mutable absl::Mutex cache_mutex_;  // compiling shares the cache, merging into it does not
  mutable absl::Mutex mutex_;
  std::map<Id, std::unique_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
  int64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_KERNEL_H_
