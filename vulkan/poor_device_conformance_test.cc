// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite on a device without anything optional (DeviceHooks::hide_optional), with
// the kernels' shapes for GPUs. A software device would run what was not enabled all the same; so
// the validation layer looks on, and must have nothing to say.
#include <iostream>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/conformance/suite.h"
#include "vulkan/backend_hooks.h"
#include "vulkan/software_device.h"
#include "vulkan/vulkan_backend.h"

namespace weft::testing {
namespace {

absl::Status RegisterPoorDevice(Registry& registry) {
  for (const absl::Status& bundled :
       {vulkan::UseBundledSoftwareDevice(), vulkan::UseBundledValidationLayer()}) {
    if (!bundled.ok()) std::cerr << bundled << "\n";
  }
  vulkan::Options options;
  options.enable_validation = true;
  options.verify_hazards = true;
  vulkan::DeviceHooks hooks;
  hooks.hide_optional = true;
  hooks.pretend_gpu = true;
  return RegisterVulkanBackendWithHooks(registry, options, hooks);
}

class AfterTheSuite : public ::testing::Environment {
 public:
  void TearDown() override {
    EXPECT_EQ(vulkan::ValidationMessageCount(), 0)
        << absl::StrJoin(vulkan::ValidationMessages(), "\n");
    std::cout << vulkan::TotalPipelineCount() << " pipelines\n";
  }
};

[[maybe_unused]] const bool kRegistered = RegisterConformanceBackend("vulkan", RegisterPoorDevice);
[[maybe_unused]] ::testing::Environment* const kAfter =
    ::testing::AddGlobalTestEnvironment(new AfterTheSuite);

}  // namespace
}  // namespace weft::testing
