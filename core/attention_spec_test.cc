// SPDX-License-Identifier: Apache-2.0
#include "core/attention_spec.h"

#include <cmath>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

AttentionSpec Plain() {
  AttentionSpec spec;
  spec.num_heads = 8;
  spec.num_kv_heads = 2;
  spec.head_size = 64;
  return spec;
}

TEST(AttentionSpecTest, DefaultScale) {
  AttentionSpec spec = Plain();
  EXPECT_EQ(spec.effective_scale(), 0.125f);
  spec.scale = 0.5f;
  EXPECT_EQ(spec.effective_scale(), 0.5f);
}

TEST(AttentionSpecTest, EachBadFieldIsNamedWithItsValue) {
  struct Row {
    void (*spoil)(AttentionSpec&);
    const char* message;
  };
  const Row rows[] = {
      {[](AttentionSpec& s) { s.num_heads = 0; }, "num_heads is 0"},
      {[](AttentionSpec& s) { s.num_kv_heads = -1; }, "num_kv_heads is -1"},
      {[](AttentionSpec& s) { s.num_kv_heads = 3; },
       "num_heads 8 is no multiple of num_kv_heads 3"},
      {[](AttentionSpec& s) { s.head_size = 0; }, "head_size is 0"},
      {[](AttentionSpec& s) { s.dtype = DType::kI32; }, "dtype is i32"},
      {[](AttentionSpec& s) { s.kv_dtype = DType::kI64; }, "kv_dtype is i64"},
      {[](AttentionSpec& s) { s.scale = -1.0f; }, "scale is -1"},
      {[](AttentionSpec& s) { s.scale = NAN; }, "scale is nan"},
      {[](AttentionSpec& s) { s.softcap = -2.0f; }, "softcap is -2"},
      {[](AttentionSpec& s) { s.softcap = INFINITY; }, "softcap is inf"},
      {[](AttentionSpec& s) {
         s.alibi_slopes = {1, 2, 3};
       },
       "alibi_slopes has 3 entries for 8 heads"},
      {[](AttentionSpec& s) { s.alibi_slopes = {1, 2, 3, 4, NAN, 6, 7, 8}; },
       "alibi_slopes[4] is nan"},
      {[](AttentionSpec& s) { s.sinks.assign(9, 0.0f); }, "sinks has 9 entries for 8 heads"},
      {[](AttentionSpec& s) { s.sinks.assign(8, INFINITY); }, "sinks[0] is inf"},
      {[](AttentionSpec& s) { s.k_scales = {0.0f}; }, "k_scales[0] is 0, must be positive"},
      {[](AttentionSpec& s) { s.v_scales = {2.0f}; },
       "v_scales[0] is 2 for an unquantised f16 cache"},
      {[](AttentionSpec& s) { s.k_scales = {NAN}; }, "k_scales[0] is nan"},
  };
  EXPECT_TRUE(Plain().Validate().ok());
  for (const Row& row : rows) {
    AttentionSpec spec = Plain();
    row.spoil(spec);
    const absl::Status status = spec.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.message;
    EXPECT_THAT(status.message(), HasSubstr(row.message));
  }
}

TEST(AttentionSpecTest, MustFitTheCache) {
  const AttentionSpec spec = Plain();
  EXPECT_TRUE(ValidateForLayout(spec, *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64)).ok());
  EXPECT_THAT(ValidateForLayout(spec, *KvCacheLayout::Nhd(DType::kF16, 16, 4, 64)).message(),
              HasSubstr("num_kv_heads 2, the cache has 4"));
  EXPECT_THAT(ValidateForLayout(spec, *KvCacheLayout::Nhd(DType::kF16, 16, 2, 32)).message(),
              HasSubstr("head_size 64, the cache has 32"));
  EXPECT_THAT(ValidateForLayout(spec, *KvCacheLayout::Nhd(DType::kBF16, 16, 2, 64)).message(),
              HasSubstr("kv_dtype f16, the cache has bf16"));
}

TEST(AttentionSpecTest, FingerprintSeesEveryField) {
  const uint64_t plain = Plain().fingerprint();
  AttentionSpec spec = Plain();
  spec.window = 5;
  EXPECT_NE(spec.fingerprint(), plain);
  spec = Plain();
  spec.sinks.assign(8, 0.0f);
  EXPECT_NE(spec.fingerprint(), plain);
  spec = Plain();
  spec.scale = 0.125f;  // what 0 stands for
  EXPECT_EQ(spec.fingerprint(), plain);
}

}  // namespace
}  // namespace weft
