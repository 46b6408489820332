// SPDX-License-Identifier: Apache-2.0
#include "core/ops/triton_attention_traits.h"

#include <array>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TritonAttentionTraitsTest, SaysWhatTheSeedSays) {
  EXPECT_EQ(TritonAttentionTraits::kName, "TRITON_ATTN");
  EXPECT_THAT(TritonAttentionTraits::kSupportedDtypes,
              ElementsAre(DType::kF16, DType::kBF16, DType::kF32));
  EXPECT_TRUE(TritonAttentionTraits::SupportsDtype(DType::kBF16));
  EXPECT_FALSE(TritonAttentionTraits::SupportsDtype(DType::kF8E4M3));
  EXPECT_FALSE(TritonAttentionTraits::SupportsDtype(DType::kI32));
  EXPECT_TRUE(TritonAttentionTraits::kAcceptOutputBuffer);
  EXPECT_EQ(TritonAttentionTraits::kGraphSupport, GraphSupport::kAlways);
  EXPECT_FALSE(TritonAttentionTraits::UseCascadeAttention(0));
  EXPECT_FALSE(TritonAttentionTraits::UseCascadeAttention(4096));
}

TEST(TritonAttentionTraitsTest, HeadSizesFrom32On) {
  EXPECT_TRUE(TritonAttentionTraits::ValidateHeadSize(32).ok());
  EXPECT_TRUE(TritonAttentionTraits::ValidateHeadSize(257).ok());
  const absl::Status status = TritonAttentionTraits::ValidateHeadSize(31);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("head size is 31, must be >= 32"));
}

TEST(TritonAttentionTraitsTest, CacheShape) {
  EXPECT_EQ(*TritonAttentionTraits::KvCacheShape(7, 32, 4, 128),
            (std::array<int64_t, 5>{7, 2, 32, 4, 128}));
  EXPECT_TRUE(TritonAttentionTraits::KvCacheShape(7, 544, 4, 128).ok());
  EXPECT_THAT(TritonAttentionTraits::KvCacheShape(7, 24, 4, 128).status().message(),
              HasSubstr("block size is 24, must be a multiple of 16"));
  EXPECT_THAT(TritonAttentionTraits::KvCacheShape(0, 16, 4, 128).status().message(),
              HasSubstr("number of blocks is 0"));
}

TEST(TritonAttentionTraitsTest, FusedOutputIsStaticPerTensorFp8Only) {
  OutputQuantization quantization;
  EXPECT_TRUE(TritonAttentionTraits::FusedOutputQuantSupported(quantization));
  quantization.is_static = false;
  EXPECT_FALSE(TritonAttentionTraits::FusedOutputQuantSupported(quantization));
  quantization = {};
  quantization.granularity = OutputQuantization::Granularity::kBlock;
  EXPECT_FALSE(TritonAttentionTraits::FusedOutputQuantSupported(quantization));
  quantization.granularity = OutputQuantization::Granularity::kPerToken;
  EXPECT_FALSE(TritonAttentionTraits::FusedOutputQuantSupported(quantization));
  quantization = {};
  quantization.dtype = DType::kF8E5M2;
  EXPECT_FALSE(TritonAttentionTraits::FusedOutputQuantSupported(quantization));
  quantization = {};
  quantization.symmetric = false;
  EXPECT_FALSE(TritonAttentionTraits::FusedOutputQuantSupported(quantization));
}

TEST(TritonAttentionTraitsTest, SpecOfAnImplementation) {
  AttentionSpec spec;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_size = 64;
  EXPECT_TRUE(TritonAttentionTraits::ValidateSpec(spec).ok());
  for (const AttentionType type :
       {AttentionType::kEncoder, AttentionType::kEncoderOnly, AttentionType::kEncoderDecoder}) {
    spec.type = type;
    const absl::Status status = TritonAttentionTraits::ValidateSpec(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(status.message(), HasSubstr(Name(type)));
  }
  spec.type = AttentionType::kDecoder;
  spec.sinks = {1.0f, 2.0f, 3.0f};
  EXPECT_THAT(TritonAttentionTraits::ValidateSpec(spec).message(),
              HasSubstr("sinks has 3 entries for 4 heads"));
  spec.sinks.clear();
  spec.head_size = 16;
  EXPECT_THAT(TritonAttentionTraits::ValidateSpec(spec).message(), HasSubstr("head size is 16"));
}

}  // namespace
}  // namespace weft
