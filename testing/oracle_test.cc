// SPDX-License-Identifier: Apache-2.0
#include "testing/oracle.h"

#include <cmath>
#include <limits>
#include <vector>

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

}  // namespace
}  // namespace weft::testing
