// SPDX-License-Identifier: Apache-2.0
#include "testing/oracle.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/attention_spec.h"
#include "gtest/gtest.h"

namespace weft::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(OracleTest, TwoKeysByHand) {
  // Logits 0 and ln 3: weights 1/4 and 3/4.
  const std::vector<float> keys = {0.0f, 1.0f};
  const std::vector<float> values = {8.0f, 4.0f};
  const OracleResult result = AttendRow({1.0f}, std::log(3.0), 2, keys, values, 1);
  EXPECT_NEAR(result.out[0], 5.0, 1e-14);
  EXPECT_NEAR(result.lse, std::log(4.0), 1e-15);
  EXPECT_NEAR(result.max_abs_logit, std::log(3.0), 1e-15);
}

TEST(OracleTest, EqualKeysAverageExactly) {
  std::vector<float> keys(1024, 0.0f), values(1024);
  for (int i = 0; i < 1024; ++i) values[i] = static_cast<float>(i % 8);
  const OracleResult result = AttendRow({3.0f}, 1.0, 1024, keys, values, 1);
  EXPECT_EQ(result.out[0], 3.5);
  EXPECT_NEAR(result.lse, std::log(1024.0), 1e-14);
}

TEST(OracleTest, NoKeyIsTheIdentityOfAMerge) {
  const OracleResult result = AttendRow({1.0f, 2.0f}, 1.0, 0, {}, {}, 2);
  EXPECT_EQ(result.out, (std::vector<double>{0.0, 0.0}));
  EXPECT_EQ(result.lse, -std::numeric_limits<double>::infinity());
}

TEST(OracleTest, HugeLogitsDoNotOverflow) {
  const std::vector<float> keys = {5e4f, -5e4f, 4.9e4f};
  const std::vector<float> values = {1.0f, 2.0f, 3.0f};
  const OracleResult result = AttendRow({1.0f}, 1.0, 3, keys, values, 1);
  EXPECT_EQ(result.out[0], 1.0);
  EXPECT_EQ(result.lse, 5e4);
  EXPECT_EQ(result.max_abs_logit, 5e4);
}

TEST(OracleTest, NanInAKeyOrAValueShows) {
  const std::vector<float> good = {0.0f, 1.0f}, bad = {0.0f, kNan};
  EXPECT_TRUE(std::isnan(AttendRow({1.0f}, 1.0, 2, bad, good, 1).out[0]));
  EXPECT_TRUE(std::isnan(AttendRow({1.0f}, 1.0, 2, bad, good, 1).lse));
  EXPECT_TRUE(std::isnan(AttendRow({1.0f}, 1.0, 2, good, bad, 1).out[0]));
  EXPECT_FALSE(std::isnan(AttendRow({1.0f}, 1.0, 2, good, bad, 1).lse));
  // The last key is not visible.
  EXPECT_EQ(AttendRow({1.0f}, 1.0, 1, bad, good, 1).out[0], 0.0);
  EXPECT_TRUE(std::isnan(AttendRow({1.0f}, 1.0, 2, {kNan, 1.0f}, good, 1).out[0]));
}

TEST(OracleTest, LogitOfMinusInfinityContributesNothing) {
  const std::vector<float> keys = {-kInfinity, 1.0f};
  const std::vector<float> values = {7.0f, 2.0f};
  EXPECT_EQ(AttendRow({1.0f}, 1.0, 2, keys, values, 1).out[0], 2.0);
}

TEST(OracleTest, TheCallbackFormIsTheDenseForm) {
  const int64_t n = 37, d = 5;
  std::vector<float> keys(n * d), values(n * d), query(d);
  for (int64_t i = 0; i < n * d; ++i) {
    keys[i] = std::sin(static_cast<float>(i));
    values[i] = std::cos(static_cast<float>(3 * i));
  }
  for (int64_t i = 0; i < d; ++i) query[i] = static_cast<float>(i) - 2.0f;
  const OracleResult dense = AttendRow(query, 0.5, n, keys, values, d);
  const OracleResult fetched =
      AttendRow(query, 0.5, n, [&](int64_t i, absl::Span<float> key, absl::Span<float> value) {
        for (int64_t c = 0; c < d; ++c) {
          key[c] = keys[i * d + c];
          value[c] = values[i * d + c];
        }
      });
  EXPECT_EQ(dense.out, fetched.out);
  EXPECT_EQ(dense.lse, fetched.lse);
}

// One dimension, so that logits and values are the numbers themselves.
OracleResult AttendScalars(const OracleHead& head, int64_t position, const std::vector<float>& keys,
                           const std::vector<float>& values) {
  return AttendRow({1.0f}, head, position, static_cast<int64_t>(keys.size()),
                   [&](int64_t i, absl::Span<float> key, absl::Span<float> value) {
                     key[0] = keys[i];
                     value[0] = values[i];
                   });
}

TEST(OracleTest, ASinkJoinsTheDenominatorAndNotTheLse) {
  OracleHead head;
  head.sink = std::log(2.0);
  // Weights 1 and 1, and 2 for the sink.
  const OracleResult result = AttendScalars(head, 1, {0.0f, 0.0f}, {8.0f, 4.0f});
  EXPECT_NEAR(result.out[0], 3.0, 1e-14);
  EXPECT_NEAR(result.lse, std::log(2.0), 1e-15);
  head.sink = 1000.0;  // more than exp can hold
  EXPECT_EQ(AttendScalars(head, 1, {0.0f, 0.0f}, {8.0f, 4.0f}).out[0], 0.0);
  EXPECT_NEAR(AttendScalars(head, 0, {999.0f}, {8.0f}).out[0], 8.0 / (1.0 + std::exp(1.0)), 1e-14);
  EXPECT_TRUE(std::isnan(AttendScalars(head, 0, {kNan}, {8.0f}).out[0]));
}

TEST(OracleTest, ASinkAloneIsNothing) {
  OracleHead head;
  head.sink = 3.0;
  const OracleResult result = AttendScalars(head, 5, {}, {});
  EXPECT_EQ(result.out[0], 0.0);
  EXPECT_EQ(result.lse, -std::numeric_limits<double>::infinity());
}

TEST(OracleTest, AWindowCountsTheRowItself) {
  OracleHead head;
  head.window = 2;
  const std::vector<float> keys(5, 0.0f), values = {1.0f, 2.0f, 4.0f, 8.0f, 16.0f};
  EXPECT_EQ(AttendScalars(head, 3, keys, values).out[0], 6.0);  // keys 2 and 3
  EXPECT_EQ(AttendScalars(head, 0, keys, values).out[0], 1.0);
  EXPECT_EQ(AttendScalars(head, 5, keys, values).out[0], 16.0);  // 4 is the last there is
  EXPECT_EQ(AttendScalars(head, 6, keys, values).lse, -std::numeric_limits<double>::infinity());
  head.window = 0;
  EXPECT_EQ(AttendScalars(head, 2, keys, values).out[0], 7.0 / 3.0);
}

TEST(OracleTest, SoftcapComesBeforeAlibi) {
  OracleHead head;
  head.scale = 2.0;
  head.softcap = 3.0;
  head.alibi_slope = 0.5;
  const OracleResult result = AttendScalars(head, 2, {9.0f}, {1.0f});
  EXPECT_NEAR(result.lse, 3.0 * std::tanh(18.0 / 3.0) + 0.5 * -2, 1e-14);
  EXPECT_NEAR(result.max_abs_logit, 3.0 * std::tanh(6.0), 1e-14);
}

TEST(OracleTest, HeadsHaveTheirOwnNumbers) {
  AttentionSpec spec;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_size = 4;
  spec.kv_dtype = DType::kF8E4M3;
  spec.alibi_slopes = {1.0f, 2.0f, 3.0f, 4.0f};
  spec.sinks = {5.0f, 6.0f, 7.0f, 8.0f};
  spec.k_scales = {0.5f};
  spec.v_scales = {9.0f, 10.0f};
  const OracleHead head = OracleHeadOf(spec, 2);
  EXPECT_EQ(head.scale, 0.5);
  EXPECT_EQ(head.alibi_slope, 3.0);
  EXPECT_EQ(head.sink, 7.0);
  EXPECT_EQ(head.k_scale, 0.5);
  EXPECT_EQ(head.v_scale, 10.0);
  EXPECT_EQ(OracleHeadOf(spec, 1).v_scale, 9.0);
  // Keys of 2 are logits of scale * k_scale * 2 = 0.5 each.
  OracleHead plain = head;
  plain.sink = -std::numeric_limits<double>::infinity();
  plain.alibi_slope = 0.0;
  const OracleResult result = AttendScalars(plain, 0, {2.0f}, {3.0f});
  EXPECT_NEAR(result.lse, 0.5, 1e-15);
  EXPECT_NEAR(result.out[0], 30.0, 1e-13);
}

}  // namespace
}  // namespace weft::testing
