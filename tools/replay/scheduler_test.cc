// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/scheduler.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/attention_metadata.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/replay/generator.h"

namespace weft::replay {
namespace {

using ::testing::HasSubstr;

SchedulerConfig Config(int64_t budget, int64_t running, int64_t page, int64_t blocks) {
  SchedulerConfig config;
  config.token_budget = budget;
  config.max_running = running;
  config.block_size = page;
  config.num_blocks = blocks;
  return config;
}

Workload Plain(std::vector<std::pair<int64_t, int64_t>> lengths) {
  Workload workload;
  for (const auto& [prompt, output] : lengths) {
    ReplayRequest request;
    request.prompt_length = prompt;
    request.output_length = output;
    workload.requests.push_back(request);
  }
  return workload;
}

std::string Picture(const Step& step) {
  std::string picture;
  for (const StepEntry& entry : step.entries) {
    absl::StrAppend(&picture, entry.kind == RequestKind::kDecode ? "d" : "p", entry.request, ":",
                    entry.num_computed_tokens, "+", entry.num_new_tokens, " ");
  }
  return picture;
}

TEST(Scheduler, ChunksPrefillsBehindDecodes) {
  const Workload workload = Plain({{3, 2}, {9, 2}});
  auto scheduler = Scheduler::Create(workload, Config(5, 8, 4, 100));
  ASSERT_TRUE(scheduler.ok());
  EXPECT_EQ(Picture(scheduler->Next()), "p0:0+3 p1:0+2 ");
  EXPECT_EQ(Picture(scheduler->Next()), "d0:3+1 p1:2+4 ");
  EXPECT_EQ(Picture(scheduler->Next()), "d0:4+1 p1:6+3 ");
  EXPECT_EQ(Picture(scheduler->Next()), "d1:9+1 ");
  EXPECT_EQ(Picture(scheduler->Next()), "d1:10+1 ");
  EXPECT_FALSE(scheduler->HasNext());
  EXPECT_EQ(scheduler->totals().prefill_tokens, 12);
  EXPECT_EQ(scheduler->totals().decode_tokens, 4);
  EXPECT_EQ(scheduler->totals().steps, 5);
}

TEST(Scheduler, WaitsForArrivals) {
  Workload workload = Plain({{4, 1}, {4, 1}});
  workload.requests[1].arrival_ms = 1e6;
  auto scheduler = Scheduler::Create(workload, Config(64, 8, 4, 100));
  ASSERT_TRUE(scheduler.ok());
  EXPECT_EQ(Picture(scheduler->Next()), "p0:0+4 ");
  EXPECT_EQ(Picture(scheduler->Next()), "d0:4+1 ");
  EXPECT_EQ(Picture(scheduler->Next()), "p1:0+4 ");
}

TEST(Scheduler, ARequestThatNeverFitsIsRefused) {
  const Workload workload = Plain({{4, 1}, {40, 5}});
  const auto scheduler = Scheduler::Create(workload, Config(64, 8, 4, 11));
  ASSERT_FALSE(scheduler.ok());
  EXPECT_THAT(std::string(scheduler.status().message()),
              HasSubstr("request 1 needs 12 cache blocks of 4 tokens, and there are 11"));
}

// A cache that hardly holds the largest request: everything still ends.
TEST(Scheduler, NeverStandsStill) {
  const Workload workload = ScaleTrace(GenerateTrace(300, 3), 1.0 / 64);
  int64_t largest = 0, prompts = 0, outputs = 0;
  for (const ReplayRequest& request : workload.requests) {
    largest = std::max(largest, request.total_length());
    prompts += request.prompt_length;
    outputs += request.output_length;
  }
  for (const int64_t budget : {1, 7, 128}) {
    auto scheduler = Scheduler::Create(workload, Config(budget, 6, 8, (largest + 7) / 8));
    ASSERT_TRUE(scheduler.ok());
    while (scheduler->HasNext()) {
      const Step step = scheduler->Next();
      ASSERT_FALSE(step.entries.empty());
      ASSERT_LE(step.num_tokens(), budget);
    }
    const ScheduleTotals& totals = scheduler->totals();
    EXPECT_EQ(totals.decode_tokens, outputs);
    EXPECT_EQ(totals.prefill_tokens + totals.reused_tokens, prompts);
  }
}

// The engine's rules and core's rules are the same: each step passes the metadata builder, and each
// request's tokens come in order, without gaps.
TEST(Scheduler, StepsAreValidBatches) {
  const Workload workload = ScaleTrace(GenerateTrace(200, 1), 1.0 / 32);
  const SchedulerConfig config = Config(100, 16, 16, 1200);
  auto scheduler = Scheduler::Create(workload, config);
  ASSERT_TRUE(scheduler.ok());
  const auto layout = KvCacheLayout::Nhd(DType::kF16, config.block_size, 1, 32);
  ASSERT_TRUE(layout.ok());
  const AttentionMetadataBuilder builder(*layout, config.num_blocks);
  std::map<int64_t, int64_t> computed;
  int64_t mixed = 0;
  while (scheduler->HasNext()) {
    const Step step = scheduler->Next();
    RequestBatch batch;
    bool decode = false, prefill = false;
    for (const StepEntry& entry : step.entries) {
      const auto [at, first] = computed.try_emplace(entry.request, entry.num_computed_tokens);
      ASSERT_EQ(at->second, entry.num_computed_tokens);
      at->second += entry.num_new_tokens;
      (entry.kind == RequestKind::kDecode ? decode : prefill) = true;
      Request request;
      request.kind = entry.kind;
      request.num_new_tokens = entry.num_new_tokens;
      request.num_computed_tokens = entry.num_computed_tokens;
      request.block_ids = entry.blocks;
      batch.requests.push_back(request);
    }
    mixed += decode && prefill ? 1 : 0;
    const auto metadata = builder.Build(batch);
    ASSERT_TRUE(metadata.ok()) << metadata.status();
  }
  EXPECT_EQ(computed.size(), workload.requests.size());
  EXPECT_GT(mixed, scheduler->totals().steps / 4);
  EXPECT_GT(scheduler->totals().reused_tokens, 0);
}

}  // namespace
}  // namespace weft::replay
