// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan backend as tests of this repository want it: poorer, faulty, or watched.
#ifndef WEFT_VULKAN_BACKEND_HOOKS_H_
#define WEFT_VULKAN_BACKEND_HOOKS_H_

#include "absl/status/status.h"
#include "core/registry.h"
#include "vulkan/runtime/device_hooks.h"

namespace weft {
namespace vulkan {
struct Options;  // vulkan/vulkan_backend.h
}  // namespace vulkan

// RegisterVulkanBackend, with `hooks` on every device that is created.
absl::Status RegisterVulkanBackendWithHooks(Registry& registry, const vulkan::Options& options,
                                            const vulkan::DeviceHooks& hooks);

}  // namespace weft

#endif  // WEFT_VULKAN_BACKEND_HOOKS_H_
