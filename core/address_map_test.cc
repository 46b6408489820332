// SPDX-License-Identifier: Apache-2.0
#include "core/address_map.h"

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(AddressMapTest, FindsTheAllocationThatHoldsTheWholeRange) {
  AddressMap map;
  int owner = 0;
  ASSERT_TRUE(map.Add({1000, 100, &owner}).ok());
  ASSERT_TRUE(map.Add({1100, 50, nullptr}).ok());
  EXPECT_EQ(map.Find(1000, 100)->owner, &owner);
  EXPECT_EQ(map.Find(1099, 1)->base, 1000);
  EXPECT_EQ(map.Find(1100, 1)->base, 1100);
  EXPECT_FALSE(map.Find(1099, 2).has_value());  // adjacent allocations are not one
  EXPECT_FALSE(map.Find(999, 1).has_value());
  EXPECT_FALSE(map.Find(1150, 1).has_value());
  EXPECT_FALSE(map.Find(1000, -1).has_value());
  EXPECT_EQ(map.total_bytes(), 150);
}

TEST(AddressMapTest, CheckNamesRangeAndNeighbour) {
  AddressMap map;
  ASSERT_TRUE(map.Add({0x1000, 0x100, nullptr}).ok());
  EXPECT_TRUE(map.Check(5, 0).ok());
  EXPECT_TRUE(map.Check(0x1000, 0x100).ok());
  const absl::Status status = map.Check(0x10f0, 0x20);
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(status.message(), testing::HasSubstr("[0x10f0, 0x1110)"));
  EXPECT_THAT(status.message(), testing::HasSubstr("[0x1000, 0x1100)"));
}

TEST(AddressMapTest, RefusesOverlapsAndForgetsWhatIsRemoved) {
  AddressMap map;
  ASSERT_TRUE(map.Add({1000, 100, nullptr}).ok());
  EXPECT_FALSE(map.Add({1099, 10, nullptr}).ok());
  EXPECT_FALSE(map.Add({990, 11, nullptr}).ok());
  EXPECT_FALSE(map.Add({1010, 10, nullptr}).ok());
  EXPECT_FALSE(map.Add({0, 10, nullptr}).ok());
  EXPECT_FALSE(map.Add({2000, 0, nullptr}).ok());
  EXPECT_FALSE(map.Add({~uint64_t{0} - 5, 10, nullptr}).ok());
  ASSERT_TRUE(map.Remove(1000).ok());
  EXPECT_EQ(map.Remove(1000).code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(map.Find(1000, 1).has_value());
  EXPECT_TRUE(map.Add({990, 20, nullptr}).ok());
}

}  // namespace
}  // namespace weft
