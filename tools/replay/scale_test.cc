// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/scale.h"

#include <vector>

#include "core/checked_math.h"
#include "gtest/gtest.h"

namespace weft::replay {
namespace {

TraceRequest WithIds(int64_t input, int64_t output) {
  TraceRequest request;
  request.input_length = input;
  request.output_length = output;
  request.hash_ids.resize(CeilDiv(input, kHashBlockTokens), 7);
  return request;
}

int64_t ScaledPrompt(int64_t input, double scale) {
  return ScaleTrace({WithIds(input, 1)}, scale).requests[0].prompt_length;
}

TEST(Scale, OneChangesNothing) {
  for (const int64_t input : {1, 511, 512, 513, 6758, 126195}) {
    EXPECT_EQ(ScaledPrompt(input, 1.0), input);
  }
  EXPECT_EQ(ScaledHashBlock(1.0), 512);
}

TEST(Scale, BlocksStayWhole) {
  EXPECT_EQ(ScaledHashBlock(1.0 / 32), 16);
  // 13 full blocks and 102 tokens: 13 * 16 + round(102 / 32 = 3.19).
  EXPECT_EQ(ScaledPrompt(6758, 1.0 / 32), 13 * 16 + 3);
  // A full last block stays full, one token stays one.
  EXPECT_EQ(ScaledPrompt(1024, 1.0 / 32), 32);
  EXPECT_EQ(ScaledPrompt(513, 1.0 / 32), 17);
}

TEST(Scale, RoundingNeverLeavesTheBlock) {
  // round(512 * 0.1) = 51, round(511 * 0.1) = 51.
  EXPECT_EQ(ScaledHashBlock(0.1), 51);
  EXPECT_EQ(ScaledPrompt(511, 0.1), 51);
  EXPECT_EQ(ScaledPrompt(512, 0.1), 51);
  EXPECT_EQ(ScaledPrompt(512 + 512, 0.1), 102);
  // 0.0029 * 512 = 1.48 -> 1, so the last block cannot hold more than 1.
  EXPECT_EQ(ScaledHashBlock(0.0029), 1);
  EXPECT_EQ(ScaledPrompt(512 + 512, 0.0029), 2);
}

TEST(Scale, NothingVanishes) {
  const Workload workload = ScaleTrace({WithIds(6758, 3)}, 1e-9);
  EXPECT_EQ(workload.hash_block, 1);
  EXPECT_EQ(workload.requests[0].prompt_length, 14);
  EXPECT_EQ(workload.requests[0].output_length, 1);
}

TEST(Scale, WithoutIdsLengthsAreRounded) {
  TraceRequest request;
  request.input_length = 374;
  request.output_length = 44;
  request.arrival_ms = 12.5;
  const Workload workload = ScaleTrace({request}, 0.25);
  EXPECT_EQ(workload.requests[0].prompt_length, 94);  // 93.5
  EXPECT_EQ(workload.requests[0].output_length, 11);
  EXPECT_EQ(workload.requests[0].arrival_ms, 12.5);
}

}  // namespace
}  // namespace weft::replay
