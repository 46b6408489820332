// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/defaults.h"

#include "gtest/gtest.h"
#include "tools/replay/generator.h"

namespace weft::replay {
namespace {

TEST(Defaults, AGpuReplaysTheTraceAsItIs) {
  DeviceInfo gpu;
  gpu.id.kind = BackendKind::kVulkan;
  EXPECT_EQ(DefaultScale(gpu, GenerateTrace(200, 0), *FindPreset("llama-8b"), 2), 1.0);
}

TEST(Defaults, ASoftwareDeviceGetsShorterRequestsTheMoreThereIsToDo) {
  DeviceInfo software;
  software.is_software = true;
  const std::vector<TraceRequest> trace = GenerateTrace(200, 0);
  const double usual = DefaultScale(software, trace, *FindPreset("llama-8b"), 2);
  EXPECT_GT(usual, 1.0 / 512);
  EXPECT_LT(usual, 1.0 / 16);
  EXPECT_GT(DefaultScale(software, trace, *FindPreset("small"), 2), usual);
  EXPECT_LT(DefaultScale(software, trace, *FindPreset("llama-8b"), 32), usual);
  EXPECT_GT(DefaultScale(software, GenerateTrace(20, 0), *FindPreset("llama-8b"), 2), usual);
  EXPECT_EQ(DefaultScale(software, trace, *FindPreset("llama-8b"), 100000), 1.0 / 512);
}

TEST(Defaults, PagesDivideHashBlocksWhereTheyCan) {
  EXPECT_EQ(PageTokens(512), 16);
  EXPECT_EQ(PageTokens(16), 16);
  EXPECT_EQ(PageTokens(8), 8);
  EXPECT_EQ(PageTokens(5), 5);
  EXPECT_EQ(PageTokens(1), 1);
  EXPECT_EQ(PageTokens(154), 14);
  EXPECT_EQ(PageTokens(51), 16);  // 3 * 17: pages straddle
  EXPECT_EQ(PageTokens(151), 16);
}

TEST(Defaults, TheCacheHoldsTheLongestRequest) {
  for (const double scale : {1.0, 0.1, 1.0 / 64, 1e-6}) {
    const Workload workload = ScaleTrace(GenerateTrace(50, 0), scale);
    EXPECT_TRUE(Scheduler::Create(workload, DefaultSchedulerConfig(workload, scale)).ok());
  }
}

}  // namespace
}  // namespace weft::replay
