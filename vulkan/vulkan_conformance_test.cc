// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan backend's share of the conformance suite: the first device there is, or the one that
// WEFT_TEST_VULKAN_DEVICE names ("vulkan:llvmpipe").
#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "core/registry.h"
#include "testing/conformance/suite.h"
#include "vulkan/software_device.h"
#include "vulkan/vulkan_backend.h"

namespace weft::testing {
namespace {

std::string Device() {
  const char* device = std::getenv("WEFT_TEST_VULKAN_DEVICE");
  return device != nullptr ? device : "vulkan";
}

absl::Status RegisterWithBundledDevice(Registry& registry) {
  // A build without a bundled device is fine where the system has one.
  if (absl::Status bundled = vulkan::UseBundledSoftwareDevice(); !bundled.ok()) {
    std::cerr << bundled << "\n";
  }
  return RegisterVulkanBackend(registry);
}

[[maybe_unused]] const bool kRegistered =
    RegisterConformanceBackend(Device(), RegisterWithBundledDevice);

}  // namespace
}  // namespace weft::testing
