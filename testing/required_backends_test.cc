// SPDX-License-Identifier: Apache-2.0
#include "testing/required_backends.h"

#include <cstdlib>

#include "gtest/gtest.h"

namespace weft::testing {
namespace {

void Require(const char* names) { ASSERT_EQ(setenv("WEFT_REQUIRE_BACKENDS", names, 1), 0); }

TEST(RequiredBackendsTest, NoneWithoutTheVariable) {
  ASSERT_EQ(unsetenv("WEFT_REQUIRE_BACKENDS"), 0);
  EXPECT_FALSE(BackendIsRequired("vulkan"));
  Require("");
  EXPECT_FALSE(BackendIsRequired("vulkan"));
}

TEST(RequiredBackendsTest, EachOfTheList) {
  Require("reference,vulkan");
  EXPECT_TRUE(BackendIsRequired("reference"));
  EXPECT_TRUE(BackendIsRequired("vulkan"));
  EXPECT_FALSE(BackendIsRequired("cuda"));
}

TEST(RequiredBackendsTest, AKindStandsForItsDevices) {
  Require("vulkan");
  EXPECT_TRUE(BackendIsRequired("vulkan:llvmpipe"));
  EXPECT_FALSE(BackendIsRequired("cuda:0"));
}

TEST(RequiredBackendsTest, ADeviceDoesNotStandForItsKind) {
  Require("cuda:1");
  EXPECT_TRUE(BackendIsRequired("cuda:1"));
  EXPECT_FALSE(BackendIsRequired("cuda:0"));
  EXPECT_FALSE(BackendIsRequired("cuda"));
}

TEST(RequiredBackendsTest, NamesAreWhole) {
  Require("vulkan2,no-reference");
  EXPECT_FALSE(BackendIsRequired("vulkan"));
  EXPECT_FALSE(BackendIsRequired("reference"));
}

}  // namespace
}  // namespace weft::testing
