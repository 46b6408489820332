// SPDX-License-Identifier: Apache-2.0
#include "vulkan/layers/shadow_bindings.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/status_macros.h"
#include "vulkan/layers/shadow_modules.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/instance.h"
#include "vulkan/runtime/memory.h"

namespace weft::vulkan {
namespace {

struct Dispatched {
  absl::Mutex mutex;
  std::set<std::string> kernels ABSL_GUARDED_BY(mutex);
};

Dispatched& TheDispatched() {
  static absl::NoDestructor<Dispatched> dispatched;
  return *dispatched;
}

// Offsets in a buffer.
struct Piece {
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceSize begin = 0;
  VkDeviceSize end = 0;
};

// Joins pieces that overlap or touch.
std::vector<Piece> Join(std::vector<Piece> pieces) {
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return std::pair(a.buffer, a.begin) < std::pair(b.buffer, b.begin);
  });
  std::vector<Piece> joined;
  for (const Piece& piece : pieces) {
    if (!joined.empty() && joined.back().buffer == piece.buffer &&
        joined.back().end >= piece.begin) {
      joined.back().end = std::max(joined.back().end, piece.end);
    } else {
      joined.push_back(piece);
    }
  }
  return joined;
}

class ShadowBindings final : public DispatchHook {
 public:
  explicit ShadowBindings(const Device& device) : device_(device) {}
  ~ShadowBindings() override {
    if (set_layout_ != VK_NULL_HANDLE) destroy_(device_.handle(), set_layout_, nullptr);
  }

  absl::Status Init();

  VkDescriptorSetLayout set_layout() const override { return set_layout_; }
  absl::StatusOr<absl::Span<const uint32_t>> WordsFor(const ShaderModule& module) override;
  absl::Status BeforeDispatch(VkCommandBuffer commands, VkPipelineLayout layout,
                              const Kernel& kernel, absl::Span<const Access> accesses,
                              const AddressMap& allocations) override;

 private:
  template <typename Function>
  absl::Status Load(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(
        device_.instance().api().GetDeviceProcAddr(device_.handle(), name));
    if (function != nullptr) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("shadow bindings: no ", name));
  }
  // The accesses of one kind.
  absl::StatusOr<std::vector<VkDescriptorBufferInfo>> Describe(const Kernel& kernel,
                                                               absl::Span<const Access> accesses,
                                                               bool write, size_t slots,
                                                               const AddressMap& allocations) const;

  const Device& device_;
  PFN_vkDestroyDescriptorSetLayout destroy_ = nullptr;
  PFN_vkCmdPushDescriptorSetKHR push_ = nullptr;
  VkDescriptorSetLayout set_layout_ = VK_NULL_HANDLE;
};

absl::Status ShadowBindings::Init() {
  PFN_vkCreateDescriptorSetLayout create = nullptr;
  RETURN_IF_ERROR(Load("vkCreateDescriptorSetLayout", create));
  RETURN_IF_ERROR(Load("vkDestroyDescriptorSetLayout", destroy_));
  RETURN_IF_ERROR(Load("vkCmdPushDescriptorSetKHR", push_));
  std::vector<VkDescriptorSetLayoutBinding> bindings(kShadowReads + kShadowWrites);
  for (uint32_t i = 0; i < bindings.size(); ++i) {
    bindings[i].binding = i;
    bindings[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    bindings[i].descriptorCount = 1;
    bindings[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  }
  VkDescriptorSetLayoutCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  info.flags = VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR;
  info.bindingCount = static_cast<uint32_t>(bindings.size());
  info.pBindings = bindings.data();
  return ToStatus(create(device_.handle(), &info, nullptr, &set_layout_),
                  "vkCreateDescriptorSetLayout");
}

absl::StatusOr<absl::Span<const uint32_t>> ShadowBindings::WordsFor(const ShaderModule& module) {
  for (const ShaderModule& shadow : ShadowModules()) {
    if (absl::string_view(shadow.name) == module.name) return shadow.words;
  }
  return absl::NotFoundError(absl::StrCat("kernel ", module.name,
                                          " has no shadow: add it to KERNELS of "
                                          "vulkan/shaders/kernels.bzl"));
}

absl::StatusOr<std::vector<VkDescriptorBufferInfo>> ShadowBindings::Describe(
    const Kernel& kernel, absl::Span<const Access> accesses, bool write, size_t slots,
    const AddressMap& allocations) const {
  std::vector<Piece> pieces;
  for (const Access& access : accesses) {
    const auto [begin, end] = access.range;
    if (access.write != write || begin >= end) continue;
    const auto allocation = allocations.Find(begin, static_cast<int64_t>(end - begin));
    if (!allocation.has_value() || allocation->owner == nullptr) {
      return absl::OutOfRangeError(absl::StrCat("kernel ", kernel.name(), " accesses [0x",
                                                absl::Hex(begin), ", 0x", absl::Hex(end),
                                                "), which no allocation holds"));
    }
    const auto& binding = *static_cast<const BufferBinding*>(allocation->owner);
    pieces.push_back({binding.buffer, begin - binding.address, end - binding.address});
  }
  pieces = Join(std::move(pieces));
  if (pieces.size() > slots) {
    return absl::ResourceExhaustedError(
        absl::StrCat("kernel ", kernel.name(), (write ? " writes " : " reads "), pieces.size(),
                     " ranges, there are shadow bindings for ", slots));
  }
  const VkPhysicalDeviceLimits& limits = device_.properties().limits;
  const VkDeviceSize alignment = limits.minStorageBufferOffsetAlignment;
  std::vector<VkDescriptorBufferInfo> infos;
  for (const Piece& piece : pieces) {
    // Rather a few bytes too few than a neighbour's: those would be hazards that are none.
    VkDeviceSize begin = (piece.begin + alignment - 1) / alignment * alignment;
    if (begin >= piece.end) begin -= alignment;
    infos.push_back({piece.buffer, begin,
                     std::min<VkDeviceSize>(piece.end - begin, limits.maxStorageBufferRange)});
  }
  return infos;
}

absl::Status ShadowBindings::BeforeDispatch(VkCommandBuffer commands, VkPipelineLayout layout,
                                            const Kernel& kernel, absl::Span<const Access> accesses,
                                            const AddressMap& allocations) {
  ASSIGN_OR_RETURN(auto infos,
                   Describe(kernel, accesses, /*write=*/false, kShadowReads, allocations));
  ASSIGN_OR_RETURN(const auto written,
                   Describe(kernel, accesses, /*write=*/true, kShadowWrites, allocations));
  if (written.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("kernel ", kernel.name(), " writes nothing"));
  }
  // A binding without a range of its own repeats one that is written anyway.
  infos.resize(kShadowReads, written.front());
  infos.insert(infos.end(), written.begin(), written.end());
  infos.resize(kShadowReads + kShadowWrites, written.front());

  std::vector<VkWriteDescriptorSet> writes(infos.size());
  for (uint32_t i = 0; i < writes.size(); ++i) {
    writes[i].sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    writes[i].dstBinding = i;
    writes[i].descriptorCount = 1;
    writes[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    writes[i].pBufferInfo = &infos[i];
  }
  push_(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, /*set=*/0,
        static_cast<uint32_t>(writes.size()), writes.data());
  Dispatched& dispatched = TheDispatched();
  absl::MutexLock lock(&dispatched.mutex);
  dispatched.kernels.insert(kernel.name());
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DispatchHook>> MakeShadowBindings(const Device& device) {
  auto hook = std::make_unique<ShadowBindings>(device);
  RETURN_IF_ERROR(hook->Init());
  return hook;
}

}  // namespace

DeviceHooks ShadowHooks() {
  DeviceHooks hooks;
  hooks.make_dispatch_hook = MakeShadowBindings;
  hooks.extensions = {VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME};
  return hooks;
}

std::set<std::string> ShadowedKernels() {
  Dispatched& dispatched = TheDispatched();
  absl::MutexLock lock(&dispatched.mutex);
  return dispatched.kernels;
}

}  // namespace weft::vulkan
