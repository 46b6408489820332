// SPDX-License-Identifier: Apache-2.0
#include "vulkan/vulkan_backend.h"

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/status_macros.h"
#include "vulkan/backend_hooks.h"
#include "vulkan/backend_impl.h"
#include "vulkan/runtime/instance.h"

namespace weft {
namespace vulkan {
namespace {

absl::StatusOr<Device*> DeviceOf(const Backend& backend) {
  if (backend.device().kind != BackendKind::kVulkan) {
    return absl::InvalidArgumentError(
        absl::StrCat(ToString(backend.device()), " is no Vulkan device"));
  }
  return &static_cast<const VulkanBackend&>(backend).vulkan_device();
}

class VulkanFactory final : public BackendFactory {
 public:
  VulkanFactory(const Options& options, const DeviceHooks& hooks)
      : options_(options), hooks_(hooks) {}

  BackendKind kind() const override { return BackendKind::kVulkan; }

  absl::StatusOr<std::vector<DeviceInfo>> Enumerate() override {
    ASSIGN_OR_RETURN(std::vector<PhysicalDevice> devices, Devices());
    std::vector<DeviceInfo> infos;
    for (const PhysicalDevice& device : devices) {
      infos.push_back(DescribeDevice(device, static_cast<int32_t>(infos.size())));
    }
    return infos;
  }

  absl::StatusOr<std::shared_ptr<Backend>> Create(int32_t ordinal) override {
    ASSIGN_OR_RETURN(std::vector<PhysicalDevice> devices, Devices());
    if (ordinal < 0 || ordinal >= static_cast<int64_t>(devices.size())) {
      return absl::NotFoundError(
          absl::StrCat("vulkan:", ordinal, ": there are ", devices.size(), " Vulkan devices"));
    }
    const PhysicalDevice& physical = devices[static_cast<size_t>(ordinal)];
    ASSIGN_OR_RETURN(std::shared_ptr<Instance> instance, OpenInstance());
    ASSIGN_OR_RETURN(std::unique_ptr<Device> device, Device::Create(instance, physical, &hooks_));
    StreamOptions options;
    options.faults = hooks_.stream_faults;
    options.verify_hazards = options_.verify_hazards;
    return VulkanBackend::Create(DescribeDevice(physical, ordinal), std::move(device), options);
  }

 private:
  absl::StatusOr<std::vector<PhysicalDevice>> Devices() {
    ASSIGN_OR_RETURN(std::shared_ptr<Instance> instance, OpenInstance());
    ASSIGN_OR_RETURN(std::vector<PhysicalDevice> devices, EnumeratePhysicalDevices(*instance));
    for (PhysicalDevice& device : devices) {
      if (hooks_.hide_optional) HideOptional(device);
      if (hooks_.pretend_gpu) device.limits.is_software = false;
    }
    return devices;
  }

  // Opened once and kept: closing an instance unloads its drivers, and some do not survive that.
  absl::StatusOr<std::shared_ptr<Instance>> OpenInstance() {
    absl::MutexLock lock(&mutex_);
    if (instance_ == nullptr) {
      ASSIGN_OR_RETURN(instance_, Instance::Create(options_.enable_validation));
    }
    return instance_;
  }

  const Options options_;
  const DeviceHooks hooks_;
  absl::Mutex mutex_;
  std::shared_ptr<Instance> instance_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<int64_t> PipelineCount(const Backend& backend) {
  ASSIGN_OR_RETURN(Device * device, DeviceOf(backend));
  return device->kernels().count();
}

absl::StatusOr<std::vector<uint8_t>> SavePipelines(const Backend& backend) {
  ASSIGN_OR_RETURN(Device * device, DeviceOf(backend));
  return device->kernels().Save();
}

absl::Status LoadPipelines(Backend& backend, absl::Span<const uint8_t> blob) {
  ASSIGN_OR_RETURN(Device * device, DeviceOf(backend));
  return device->kernels().Load(blob);
}

}  // namespace vulkan

absl::Status RegisterVulkanBackend(Registry& registry, const vulkan::Options& options) {
  return RegisterVulkanBackendWithHooks(registry, options, {});
}

absl::Status RegisterVulkanBackendWithHooks(Registry& registry, const vulkan::Options& options,
                                            const vulkan::DeviceHooks& hooks) {
  return registry.Register(std::make_unique<vulkan::VulkanFactory>(options, hooks));
}

}  // namespace weft
