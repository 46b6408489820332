// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/replay/progress.h"

namespace weft::replay {
namespace {

using ::testing::HasSubstr;

struct Report {
  RunLabel label;
  EngineConfig config;
  RunStats stats;
};

Report Example() {
  Report report;
  report.label.device.id.kind = BackendKind::kVulkan;
  report.label.device.name = "a \"device\" \xff";
  report.label.source = "trace.jsonl";
  report.label.requests = 1200;
  report.config.preset = *FindPreset("small");
  report.config.world_size = 2;
  report.stats.schedule.steps = 4;
  report.stats.schedule.prefill_tokens = 900;
  report.stats.schedule.decode_tokens = 100;
  report.stats.schedule.reused_tokens = 100;
  report.stats.checked_steps = 1;
  report.stats.output_digest = "0123456789abcdef";
  report.stats.bytes_communicated = 3 << 20;
  report.stats.step_seconds = {0.1, 0.2, 0.3, 0.4};
  RankTotals rank;
  rank.causal_pairs = 100;
  rank.op_times.resize(kNumOpKinds);
  rank.op_times[static_cast<int>(OpKind::kAttention)].time = absl::Seconds(3);
  rank.op_times[static_cast<int>(OpKind::kCopy)].time = absl::Seconds(1);
  report.stats.ranks = {rank, rank};
  report.stats.ranks[1].causal_pairs = 300;
  return report;
}

TEST(Report, JsonHasWhatTheIssueAsksFor) {
  const Report report = Example();
  const auto json = nlohmann::json::parse(ReportJson(report.label, report.config, report.stats),
                                          nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(json.is_object());
  for (const char* field :
       {"backend", "device", "requests", "prefill_tokens", "decode_tokens", "steps",
        "checked_steps", "mismatches", "output_digest", "pcp", "bytes_communicated"}) {
    EXPECT_TRUE(json.contains(field)) << field;
  }
  EXPECT_EQ(json["backend"], "vulkan");
  EXPECT_EQ(json["mismatches"], 0);
  EXPECT_EQ(json["bytes_communicated"], 3 << 20);
  EXPECT_EQ(json["tokens_per_second"], 1000);
  EXPECT_EQ(json["pcp_balance"], 1.5);
  EXPECT_EQ(json["op_seconds"]["attention"], 6);
}

TEST(Report, TableSaysWhereTheTimeGoes) {
  const Report report = Example();
  const std::string table = ReportTable(report.label, report.config, report.stats);
  EXPECT_THAT(table, HasSubstr("1,200 requests"));
  EXPECT_THAT(table, HasSubstr("1000 tokens/s over 1.0 s"));
  EXPECT_THAT(table, HasSubstr("100 tokens, 10.0 % of the prompts"));
  EXPECT_THAT(table, HasSubstr("p50 300.00 ms, p99 400.00 ms"));
  EXPECT_THAT(table, HasSubstr("2 ranks, balance 1.500"));
  EXPECT_THAT(table, HasSubstr("3.0 MiB"));
  EXPECT_THAT(table, testing::ContainsRegex("attention +75\\.0 % +6\\.000 s"));
}

TEST(Progress, Line) {
  EXPECT_EQ(ProgressLine(0, 100, absl::Seconds(1)), "[....................]   0%");
  EXPECT_EQ(ProgressLine(25, 100, absl::Seconds(2)), "[#####...............]  25%  6 s left");
  EXPECT_EQ(ProgressLine(100, 100, absl::Seconds(2)), "[####################] 100%  0 s left");
}

}  // namespace
}  // namespace weft::replay
