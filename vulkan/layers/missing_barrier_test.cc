// SPDX-License-Identifier: Apache-2.0
//
// A silent layer may be a blind one: with shadow bindings, it sees every single barrier that is
// left out between operations. One case of each operation of the conformance suite, once for each
// of its barriers.
#include <cstdint>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "core/backend.h"
#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/cases.h"
#include "vulkan/backend_hooks.h"
#include "vulkan/layers/shadow_bindings.h"
#include "vulkan/vulkan_backend.h"

namespace weft::vulkan {
namespace {

// A decode of two granules, a prefill, a cache of two segments; and a case of each other operation.
std::vector<std::string> Lines() {
  std::vector<std::string> lines = {
      "attention dtype=f16 heads=4/2 d=64 q=1,20 ctx=600,3 kinds=d,p segments=2"};
  std::set<std::string> seen = {"attention"};
  for (const std::string& line : testing::CaseLines()) {
    if (seen.insert(std::string(testing::CaseOp(line))).second) lines.push_back(line);
  }
  return lines;
}

TEST(MissingBarrierTest, TheLayerSeesEachOne) {
  StreamFaults faults;
  DeviceHooks hooks = ShadowHooks();
  hooks.stream_faults = &faults;
  Options options;
  options.enable_validation = true;
  Registry registry;
  ASSERT_TRUE(RegisterVulkanBackendWithHooks(registry, options, hooks).ok());
  const absl::StatusOr<std::shared_ptr<Backend>> backend = registry.Create("vulkan");
  ASSERT_TRUE(backend.ok()) << backend.status();

  const std::vector<std::string> lines = Lines();
  std::vector<int64_t> barriers;  // that each case needs
  for (const std::string& line : lines) {
    faults = {};
    const absl::Status status = testing::CheckCaseLine(**backend, line);
    EXPECT_TRUE(status.ok()) << status;
    barriers.push_back(faults.barriers_needed);
  }
  ASSERT_EQ(ValidationMessageCount(), 0) << absl::StrJoin(ValidationMessages(), "\n");

  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_GT(barriers[i], 0) << lines[i];
    for (int64_t n = 0; n < barriers[i]; ++n) {
      faults = {};
      faults.suppressed_barrier = n;
      const int64_t before = ValidationMessageCount();
      // The result may well be right: lavapipe runs one dispatch after the other.
      testing::CheckCaseLine(**backend, lines[i]).IgnoreError();
      EXPECT_GT(ValidationMessageCount(), before) << "without barrier " << n << ": " << lines[i];
    }
    std::cout << barriers[i] << " barriers, each one reported when left out: " << lines[i] << "\n";
  }
  EXPECT_NE(absl::StrJoin(ValidationMessages(), "\n").find("hazard detected"), std::string::npos);
}

}  // namespace
}  // namespace weft::vulkan
