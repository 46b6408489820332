// SPDX-License-Identifier: Apache-2.0
#include "core/request_batch.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr RequestKind kD = RequestKind::kDecode;
constexpr RequestKind kP = RequestKind::kPrefill;

TEST(RequestKindTest, Names) {
  EXPECT_EQ(Name(kD), "decode");
  EXPECT_EQ(Name(kP), "prefill");
}

TEST(ClassifyRequestsTest, NeedsContextAndFewNewTokens) {
  // One new token with context; the same without; more than the threshold; the last token of a
  // chunked prefill, which the seed's rule takes for a decode; nothing to do.
  const std::vector<int64_t> n = {1, 1, 2, 1, 0, 0};
  const std::vector<int64_t> m = {10, 0, 10, 512, 7, 0};
  auto kinds = ClassifyRequests(n, m, 1);
  ASSERT_TRUE(kinds.ok()) << kinds.status();
  EXPECT_THAT(*kinds, ElementsAre(kD, kP, kP, kD, kD, kP));
}

TEST(ClassifyRequestsTest, ThresholdIsInclusive) {
  const std::vector<int64_t> n = {2, 3, 4, 3};
  const std::vector<int64_t> m = {1, 1, 1, 0};
  auto kinds = ClassifyRequests(n, m, 3);
  ASSERT_TRUE(kinds.ok()) << kinds.status();
  EXPECT_THAT(*kinds, ElementsAre(kD, kD, kP, kP));
}

TEST(ClassifyRequestsTest, NoRequests) {
  auto kinds = ClassifyRequests({}, {}, 1);
  ASSERT_TRUE(kinds.ok()) << kinds.status();
  EXPECT_THAT(*kinds, IsEmpty());
}

TEST(ClassifyRequestsTest, ErrorsNameRequestAndValue) {
  const std::vector<int64_t> n = {1, 2, 3};
  const std::vector<int64_t> m = {1, 2, 3};
  absl::Status status = ClassifyRequests(n, {m.data(), 2}, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("3 requests"), HasSubstr("has 2")));

  status = ClassifyRequests(n, m, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("threshold is 0"));

  const std::vector<int64_t> bad = {1, -7, 3};
  status = ClassifyRequests(bad, m, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("request 1: num_new_tokens is -7"));

  status = ClassifyRequests(n, bad, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("request 1: num_computed_tokens is -7"));
}

}  // namespace
}  // namespace weft
