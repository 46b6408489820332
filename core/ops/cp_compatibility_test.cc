// SPDX-License-Identifier: Apache-2.0
#include "core/ops/cp_compatibility.h"

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

CpConfig Config(int64_t tp, int64_t pcp, int64_t dcp) {
  CpConfig config;
  config.tensor_parallel_size = tp;
  config.prefill_context_parallel_size = pcp;
  config.decode_context_parallel_size = dcp;
  return config;
}

AttentionImplTraits Nothing() {
  AttentionImplTraits traits;
  traits.name = "FlashThingImpl";
  return traits;
}

std::string Refusal(const CpConfig& config, const AttentionImplTraits& traits) {
  const absl::Status status =
      CheckAttentionCpCompatibility(config, {CpAttentionLayer{"model.layers.3.attn", traits}});
  EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kFailedPrecondition) << status;
  return std::string(status.message());
}

TEST(CpCompatibilityTest, RulesAToCInOrder) {
  CpConfig config = Config(8, 2, 2);
  config.speculative = true;
  config.cp_kv_cache_interleave_size = 4;
  AttentionImplTraits traits = Nothing();
  EXPECT_THAT(Refusal(config, traits),
              AllOf(HasSubstr("FlashThingImpl"), HasSubstr("model.layers.3.attn"),
                    HasSubstr("speculative decoding with a KV cache interleave of 4")));
  traits.supports_mtp_with_cp_non_trivial_interleave_size = true;
  EXPECT_THAT(Refusal(config, traits),
              AllOf(HasSubstr("FlashThingImpl does not return the softmax LSE"),
                    HasSubstr("set decode_context_parallel_size to 1")));
  traits.can_return_lse_for_decode = true;
  EXPECT_THAT(Refusal(config, traits),
              HasSubstr("FlashThingImpl does not support prefill context parallelism, of 2"));
  traits.supports_pcp = true;
  EXPECT_EQ(Refusal(config, traits), "");
}

TEST(CpCompatibilityTest, EachRuleAppliesOnlyWhereItMust) {
  CpConfig config = Config(1, 2, 1);  // PCP only: no LSE is needed
  EXPECT_THAT(Refusal(config, Nothing()), HasSubstr("prefill context parallelism"));
  // Rule (a) also with PCP alone.
  config.speculative = true;
  EXPECT_THAT(Refusal(config, Nothing()), HasSubstr("prefill context parallelism"));
  config.cp_kv_cache_interleave_size = 2;
  EXPECT_THAT(Refusal(config, Nothing()), HasSubstr("speculative"));
  config = Config(4, 1, 4);  // DCP only
  AttentionImplTraits traits = Nothing();
  traits.can_return_lse_for_decode = true;
  EXPECT_EQ(Refusal(config, traits), "");
}

TEST(CpCompatibilityTest, NothingIsAskedWithoutContextParallelism) {
  CpConfig config = Config(8, 1, 1);
  config.speculative = true;
  config.cp_kv_cache_interleave_size = 8;
  EXPECT_EQ(Refusal(config, Nothing()), "");
}

TEST(CpCompatibilityTest, FirstLayerThatFailsIsNamedAndLayersWithoutImplAreSkipped) {
  AttentionImplTraits second = Nothing(), third = Nothing();
  second.name = "SecondImpl";
  third.name = "ThirdImpl";
  const std::vector<CpAttentionLayer> layers = {{"embedding", std::nullopt},
                                                {"good", WeftAttentionTraits()},
                                                {"second", second},
                                                {"third", third}};
  const absl::Status status = CheckAttentionCpCompatibility(Config(2, 1, 2), layers);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("second: SecondImpl"), Not(HasSubstr("ThirdImpl"))));
  const std::vector<CpAttentionLayer> none = {{"embedding", std::nullopt}};
  EXPECT_TRUE(CheckAttentionCpCompatibility(Config(2, 1, 2), none).ok());
}

TEST(CpCompatibilityTest, WeftSupportsAll) {
  CpConfig config = Config(8, 4, 4);
  config.speculative = true;
  config.cp_kv_cache_interleave_size = 16;
  EXPECT_EQ(Refusal(config, WeftAttentionTraits()), "");
}

TEST(CpConfigTest, ValidCombinationsOfThePublicValidator) {
  for (const auto& [tp, pcp, dcp] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
           {1, 8, 8}, {1, 4, 4}, {2, 4, 8}, {8, 8, 64}, {1, 8, 1}}) {
    CpConfig config = Config(tp, pcp, dcp);
    config.is_mla = true;
    EXPECT_TRUE(CheckCpConfig(config).ok()) << tp << " " << pcp << " " << dcp;
  }
  EXPECT_THAT(CheckCpConfig(Config(4, 1, 3)).message(), HasSubstr("4 is no multiple"));
  EXPECT_THAT(CheckCpConfig(Config(2, 4, 2)).message(), HasSubstr("must be 1, 4 or their product"));
  EXPECT_THAT(CheckCpConfig(Config(0, 1, 1)).message(), HasSubstr("tensor_parallel_size is 0"));
}

TEST(CpConfigTest, RanksOfAGroupMustHoldTheSameKvHeads) {
  CpConfig config = Config(8, 1, 2);
  config.num_kv_heads = 4;
  EXPECT_TRUE(CheckCpConfig(config).ok());  // pairs of ranks hold the same head
  config.decode_context_parallel_size = 4;
  EXPECT_THAT(CheckCpConfig(config).message(), HasSubstr("only 2 of the 8 hold the same ones"));
  config.is_mla = true;
  EXPECT_TRUE(CheckCpConfig(config).ok());
  config.is_mla = false;
  config.num_kv_heads = 8;  // tp > num_kv_heads is needed
  config.decode_context_parallel_size = 2;
  EXPECT_THAT(CheckCpConfig(config).message(), HasSubstr("only 1 of the 8"));
  // The corrected rule: a group of dcp == pcp spans one tensor-parallel rank.
  config = Config(2, 4, 4);
  config.num_kv_heads = 8;
  EXPECT_TRUE(CheckCpConfig(config).ok());
  config.decode_context_parallel_size = 8;
  EXPECT_THAT(CheckCpConfig(config).message(), HasSubstr("spans 2 tensor-parallel ranks"));
}

TEST(CpConfigTest, InterleaveDividesTheBlock) {
  CpConfig config = Config(4, 1, 4);
  config.block_size = 16;
  config.cp_kv_cache_interleave_size = 16;
  EXPECT_TRUE(CheckCpConfig(config).ok());
  config.cp_kv_cache_interleave_size = 32;
  EXPECT_THAT(CheckCpConfig(config).message(), HasSubstr("32 tokens exceeds the block size 16"));
  config.cp_kv_cache_interleave_size = 6;
  EXPECT_THAT(CheckCpConfig(config).message(), HasSubstr("6 tokens does not divide"));
  // Without DCP nobody looks at it.
  config.decode_context_parallel_size = 1;
  EXPECT_TRUE(CheckCpConfig(config).ok());
  // The deprecated name wins if it says something.
  config = Config(4, 1, 4);
  config.cp_kv_cache_interleave_size = 4;
  EXPECT_EQ(EffectiveInterleave(config), 4);
  config.dcp_kv_cache_interleave_size = 3;
  EXPECT_EQ(EffectiveInterleave(config), 3);
  EXPECT_THAT(CheckCpConfig(config).message(), HasSubstr("interleave of 3"));
}

}  // namespace
}  // namespace weft
