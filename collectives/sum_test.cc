// SPDX-License-Identifier: Apache-2.0
#include "collectives/sum.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;

template <typename T>
std::vector<T> Sum(DType dtype, const std::vector<std::vector<T>>& parts) {
  std::vector<const uint8_t*> data;
  for (const auto& part : parts) data.push_back(reinterpret_cast<const uint8_t*>(part.data()));
  std::vector<T> sum(parts[0].size());
  SumInOrder(dtype, data, static_cast<int64_t>(sum.size()), reinterpret_cast<uint8_t*>(sum.data()));
  return sum;
}

// 2^24 + 1 - 2^24 is 0 in f32, 2^24 - 2^24 + 1 is 1: the order is what makes ranks agree.
TEST(SumInOrderTest, OrderIsTheOrderOfTheParts) {
  constexpr float kBig = 1 << 24;
  EXPECT_THAT(Sum<float>(DType::kF32, {{kBig}, {1}, {-kBig}}), ElementsAre(0.0f));
  EXPECT_THAT(Sum<float>(DType::kF32, {{kBig}, {-kBig}, {1}}), ElementsAre(1.0f));
}

TEST(SumInOrderTest, HalvesAreRoundedOnce) {
  // In f16 2048 + 1 + 1 rounds back to 2048 twice; in f32 it is 2050, which f16 has.
  const uint16_t big = F32ToF16(2048), one = F32ToF16(1);
  EXPECT_THAT(Sum<uint16_t>(DType::kF16, {{big}, {one}, {one}}), ElementsAre(F32ToF16(2050)));
  const uint16_t bf_big = F32ToBF16(256), bf_one = F32ToBF16(1);
  EXPECT_THAT(Sum<uint16_t>(DType::kBF16, {{bf_big}, {bf_one}, {bf_one}}),
              ElementsAre(F32ToBF16(258)));
}

TEST(SumInOrderTest, IntegersWrap) {
  constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
  EXPECT_THAT(Sum<int32_t>(DType::kI32, {{kMax, -5}, {1, 7}}),
              ElementsAre(std::numeric_limits<int32_t>::min(), 2));
  constexpr int64_t kMax64 = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(Sum<int64_t>(DType::kI64, {{kMax64, int64_t{1} << 40}, {1, 1}}),
              ElementsAre(std::numeric_limits<int64_t>::min(), (int64_t{1} << 40) + 1));
}

TEST(SumInOrderTest, OnePartKeepsItsBits) {
  EXPECT_THAT(Sum<uint16_t>(DType::kF16, {{0x8000, 0x0001, 0x7c00}}),
              ElementsAre(0x8000, 0x0001, 0x7c00));
}

TEST(SumInOrderTest, IntoAPart) {
  std::vector<float> a = {1, 2, 3};
  const std::vector<float> b = {10, 20, 30};
  const std::vector<const uint8_t*> parts = {reinterpret_cast<uint8_t*>(a.data()),
                                             reinterpret_cast<const uint8_t*>(b.data())};
  SumInOrder(DType::kF32, parts, 3, reinterpret_cast<uint8_t*>(a.data()));
  EXPECT_THAT(a, ElementsAre(11, 22, 33));
}

}  // namespace
}  // namespace weft
