// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan backend's share of the conformance suite: the first device there is, or the one that
// WEFT_TEST_VULKAN_DEVICE names ("vulkan:llvmpipe"). Every barrier is checked, the
// pipelines are counted; with WEFT_TEST_VULKAN_VALIDATION=1 the validation layer looks on and must
// have nothing to say.
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "core/registry.h"
#include "gtest/gtest.h"
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
  for (const absl::Status& bundled :
       {vulkan::UseBundledSoftwareDevice(), vulkan::UseBundledValidationLayer()}) {
    if (!bundled.ok()) std::cerr << bundled << "\n";
  }
  vulkan::Options options;
  options.enable_validation = std::getenv("WEFT_TEST_VULKAN_VALIDATION") != nullptr;
  options.verify_hazards = true;
  return RegisterVulkanBackend(registry, options);
}

// On a software device a pipeline costs a second of processor time (vulkan.md, 4.2), so what the
// suite may take is counted in pipelines.
constexpr int64_t kMaxPipelines = 60;

class AfterTheSuite : public ::testing::Environment {
 public:
  void TearDown() override {
    EXPECT_EQ(vulkan::ValidationMessageCount(), 0)
        << absl::StrJoin(vulkan::ValidationMessages(), "\n");
    EXPECT_LE(vulkan::TotalPipelineCount(), kMaxPipelines);
    std::cout << vulkan::TotalPipelineCount() << " pipelines\n";
  }
};

[[maybe_unused]] const bool kRegistered =
    RegisterConformanceBackend(Device(), RegisterWithBundledDevice);
[[maybe_unused]] ::testing::Environment* const kAfter =
    ::testing::AddGlobalTestEnvironment(new AfterTheSuite);

}  // namespace
}  // namespace weft::testing
