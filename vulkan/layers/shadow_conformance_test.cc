// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite with shadow bindings, under the validation layer, which is to have nothing
// to say about any kernel's memory. With WEFT_TEST_PRETEND_GPU=1 kernels have their shapes for
// GPUs.
#include <cstdlib>
#include <iostream>
#include <set>
#include <string>

#include "absl/strings/str_join.h"
#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/conformance/suite.h"
#include "vulkan/backend_hooks.h"
#include "vulkan/layers/shadow_bindings.h"
#include "vulkan/layers/shadow_modules.h"
#include "vulkan/vulkan_backend.h"

namespace weft::testing {
namespace {

absl::Status RegisterWithShadows(Registry& registry) {
  vulkan::Options options;
  options.enable_validation = true;
  options.verify_hazards = true;
  vulkan::DeviceHooks hooks = vulkan::ShadowHooks();
  hooks.pretend_gpu = std::getenv("WEFT_TEST_PRETEND_GPU") != nullptr;
  return RegisterVulkanBackendWithHooks(registry, options, hooks);
}

class AfterTheSuite : public ::testing::Environment {
 public:
  void TearDown() override {
    EXPECT_EQ(vulkan::ValidationMessageCount(), 0)
        << absl::StrJoin(vulkan::ValidationMessages(), "\n");
    std::set<std::string> all;
    for (const vulkan::ShaderModule& module : vulkan::ShadowModules()) all.insert(module.name);
    if (std::getenv("WEFT_TEST_EVERY_KERNEL") != nullptr) {
      EXPECT_EQ(vulkan::ShadowedKernels(), all) << "a kernel was not launched";
    }
    std::cout << "validation messages: " << vulkan::ValidationMessageCount()
              << "; kernels: " << absl::StrJoin(vulkan::ShadowedKernels(), ", ") << "\n";
  }
};

[[maybe_unused]] const bool kRegistered = RegisterConformanceBackend("vulkan", RegisterWithShadows);
[[maybe_unused]] ::testing::Environment* const kAfter =
    ::testing::AddGlobalTestEnvironment(new AfterTheSuite);

}  // namespace
}  // namespace weft::testing
