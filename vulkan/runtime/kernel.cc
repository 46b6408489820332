// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/kernel.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/device_hooks.h"
#include "vulkan/runtime/spirv_info.h"

namespace weft::vulkan {
namespace {

std::atomic<int64_t> total_pipeline_count{0};
thread_local int64_t thread_pipeline_count = 0;

absl::Status CheckLimits(const char* name, const SpirvInfo& info, uint32_t subgroup_size,
                         const DeviceLimits& limits) {
  const auto& size = info.local_size;
  for (int axis = 0; axis < 3; ++axis) {
    if (size[axis] <= limits.max_group_size[axis]) continue;
    return absl::UnimplementedError(absl::StrCat("kernel ", name, ": local size ", size[axis],
                                                 " on axis ", axis, ", the device allows ",
                                                 limits.max_group_size[axis]));
  }
  const uint64_t invocations = uint64_t{size[0]} * size[1] * size[2];
  const uint64_t allowed =
      std::min<uint64_t>(limits.max_invocations, uint64_t{limits.max_subgroups} * subgroup_size);
  if (invocations > allowed) {
    return absl::UnimplementedError(absl::StrCat(
        "kernel ", name, ": ", invocations, " invocations of a workgroup, the device allows ",
        allowed, " at a subgroup size of ", subgroup_size));
  }
  if (info.shared_memory_bytes > limits.max_shared_memory_bytes) {
    return absl::UnimplementedError(absl::StrCat("kernel ", name, ": ", info.shared_memory_bytes,
                                                 " bytes of shared memory, the device has ",
                                                 limits.max_shared_memory_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> ChooseSubgroupSize(const KernelKey& key, const DeviceLimits& limits) {
  const uint32_t size = key.subgroup_size;
  if (size == 0 || size == limits.subgroup_size) return limits.subgroup_size;
  if (limits.subgroup_size_selectable && size >= limits.min_subgroup_size &&
      size <= limits.max_subgroup_size && (size & (size - 1)) == 0) {
    return size;
  }
  return absl::UnimplementedError(
      absl::StrCat("kernel ", key.module->name, ": subgroup size ", size, ", the device has ",
                   limits.min_subgroup_size, " to ", limits.max_subgroup_size,
                   limits.subgroup_size_selectable ? "" : " and chooses itself"));
}

}  // namespace

int64_t TotalPipelineCount() { return total_pipeline_count.load(); }
int64_t ThreadPipelineCount() { return thread_pipeline_count; }

KernelCache::KernelCache(const Device& device) : device_(device) {}

absl::Status KernelCache::Init() {
  VkPushConstantRange range = {};
  range.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  range.size = sizeof(uint64_t);
  VkPipelineLayoutCreateInfo layout = {};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  VkDescriptorSetLayout set = VK_NULL_HANDLE;
  if (const DispatchHook* hook = device_.dispatch_hook(); hook != nullptr) {
    set = hook->set_layout();
    layout.setLayoutCount = 1;
    layout.pSetLayouts = &set;
  }
  RETURN_IF_ERROR(
      ToStatus(device_.api().CreatePipelineLayout(device_.handle(), &layout, nullptr, &layout_),
               "vkCreatePipelineLayout"));
  VkPipelineCacheCreateInfo cache = {};
  cache.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  return ToStatus(device_.api().CreatePipelineCache(device_.handle(), &cache, nullptr, &cache_),
                  "vkCreatePipelineCache");
}

KernelCache::~KernelCache() {
  const DeviceApi& api = device_.api();
  if (layout_ == VK_NULL_HANDLE) return;  // nothing was made
  std::map<Id, std::unique_ptr<Entry>> entries;
  {
    absl::MutexLock lock(&mutex_);
    entries.swap(entries_);
  }
  for (auto& [id, entry] : entries) {
    absl::MutexLock lock(&entry->mutex);  // never inside mutex_: Get takes them the other way round
    if (entry->kernel != nullptr) {
      api.DestroyPipeline(device_.handle(), entry->kernel->pipeline(), nullptr);
    }
  }
  api.DestroyPipelineCache(device_.handle(), cache_, nullptr);
  api.DestroyPipelineLayout(device_.handle(), layout_, nullptr);
}

absl::StatusOr<const Kernel*> KernelCache::Get(const KernelKey& key) {
  ASSIGN_OR_RETURN(uint32_t subgroup_size, ChooseSubgroupSize(key, device_.limits()));
  Entry* entry = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    auto& slot = entries_[Id(key.module, key.specialization, subgroup_size)];
    if (slot == nullptr) slot = std::make_unique<Entry>();
    entry = slot.get();
  }
  absl::MutexLock entry_lock(&entry->mutex);
  if (entry->kernel == nullptr) {
    ASSIGN_OR_RETURN(VkPipeline pipeline, Compile(key, subgroup_size));
    entry->kernel = std::make_unique<Kernel>(key.module, pipeline);
    absl::MutexLock lock(&mutex_);
    ++count_;
    ++total_pipeline_count;
    ++thread_pipeline_count;
  }
  return entry->kernel.get();
}

int64_t KernelCache::count() const {
  absl::MutexLock lock(&mutex_);
  return count_;
}

absl::StatusOr<VkPipeline> KernelCache::Compile(const KernelKey& key,
                                                uint32_t subgroup_size) const {
  const DeviceLimits& limits = device_.limits();
  const DeviceApi& api = device_.api();
  absl::Span<const uint32_t> words = key.module->words;
  if (DispatchHook* hook = device_.dispatch_hook(); hook != nullptr) {
    ASSIGN_OR_RETURN(words, hook->WordsFor(*key.module));
  }
  ASSIGN_OR_RETURN(SpirvInfo spirv, ReadSpirv(words, key.specialization));
  RETURN_IF_ERROR(CheckLimits(key.module->name, spirv, subgroup_size, limits));

  VkShaderModuleCreateInfo module_info = {};
  module_info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  module_info.codeSize = words.size() * sizeof(uint32_t);
  module_info.pCode = words.data();
  VkShaderModule module = VK_NULL_HANDLE;
  RETURN_IF_ERROR(ToStatus(api.CreateShaderModule(device_.handle(), &module_info, nullptr, &module),
                           "vkCreateShaderModule"));

  std::vector<VkSpecializationMapEntry> entries(key.specialization.size());
  for (uint32_t i = 0; i < entries.size(); ++i) entries[i] = {i, i * 4, 4};
  VkSpecializationInfo specialization = {};
  specialization.mapEntryCount = static_cast<uint32_t>(entries.size());
  specialization.pMapEntries = entries.data();
  specialization.dataSize = key.specialization.size() * sizeof(uint32_t);
  specialization.pData = key.specialization.data();

  // A module of SPIR-V 1.6 may otherwise run at any size between min and max.
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo required = {};
  required.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  required.requiredSubgroupSize = subgroup_size;

  VkComputePipelineCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.layout = layout_;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &specialization;
  if (limits.subgroup_size_selectable) info.stage.pNext = &required;
  const uint32_t multiple =
      limits.subgroup_size_selectable ? subgroup_size : limits.max_subgroup_size;
  if (spirv.local_size[0] % multiple == 0) {
    info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
  }
  VkPipeline pipeline = VK_NULL_HANDLE;
  VkResult result = VK_SUCCESS;
  {
    absl::ReaderMutexLock lock(&cache_mutex_);
    result = api.CreateComputePipelines(device_.handle(), cache_, 1, &info, nullptr, &pipeline);
  }
  api.DestroyShaderModule(device_.handle(), module, nullptr);
  RETURN_IF_ERROR(
      ToStatus(result, absl::StrCat("vkCreateComputePipelines of ", key.module->name).c_str()));
  return pipeline;
}

absl::StatusOr<std::vector<uint8_t>> KernelCache::Save() const {
  const DeviceApi& api = device_.api();
  absl::MutexLock lock(&cache_mutex_);  // it must not grow between the two calls
  size_t size = 0;
  RETURN_IF_ERROR(ToStatus(api.GetPipelineCacheData(device_.handle(), cache_, &size, nullptr),
                           "vkGetPipelineCacheData"));
  std::vector<uint8_t> blob(size);
  RETURN_IF_ERROR(ToStatus(api.GetPipelineCacheData(device_.handle(), cache_, &size, blob.data()),
                           "vkGetPipelineCacheData"));
  blob.resize(size);
  return blob;
}

absl::Status KernelCache::Load(absl::Span<const uint8_t> blob) {
  // Drivers are known to crash on a blob that is not theirs, so the header is read here.
  VkPipelineCacheHeaderVersionOne header = {};
  if (blob.size() < sizeof(header)) {
    return absl::InvalidArgumentError(absl::StrCat("pipeline cache of ", blob.size(),
                                                   " bytes, its header takes ", sizeof(header)));
  }
  std::memcpy(&header, blob.data(), sizeof(header));
  if (header.headerSize < sizeof(header) || header.headerSize > blob.size() ||
      header.headerVersion != VK_PIPELINE_CACHE_HEADER_VERSION_ONE) {
    return absl::InvalidArgumentError(
        absl::StrCat("pipeline cache: header of ", header.headerSize, " bytes, version ",
                     static_cast<int>(header.headerVersion), ", expected version 1"));
  }
  const VkPhysicalDeviceProperties& properties = device_.properties();
  auto foreign = [](const char* what) {
    return absl::FailedPreconditionError(absl::StrCat("pipeline cache: made by another ", what));
  };
  if (header.vendorID != properties.vendorID) return foreign("vendor's device");
  if (header.deviceID != properties.deviceID) return foreign("device");
  if (std::memcmp(header.pipelineCacheUUID, properties.pipelineCacheUUID, VK_UUID_SIZE) != 0) {
    return foreign("version of the driver");
  }
  VkPipelineCacheCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  info.initialDataSize = blob.size();
  info.pInitialData = blob.data();
  const DeviceApi& api = device_.api();
  VkPipelineCache loaded = VK_NULL_HANDLE;
  RETURN_IF_ERROR(ToStatus(api.CreatePipelineCache(device_.handle(), &info, nullptr, &loaded),
                           "vkCreatePipelineCache"));
  VkResult result = VK_SUCCESS;
  {
    absl::MutexLock lock(&cache_mutex_);
    result = api.MergePipelineCaches(device_.handle(), cache_, 1, &loaded);
  }
  api.DestroyPipelineCache(device_.handle(), loaded, nullptr);
  return ToStatus(result, "vkMergePipelineCaches");
}

}  // namespace weft::vulkan
