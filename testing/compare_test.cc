// SPDX-License-Identifier: Apache-2.0
//
// Each rule of a comparison is seen to pass at its bound and to fail just past it.
#include "testing/compare.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace weft::testing {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

HostTensor Tensor(std::vector<double> values, DType dtype = DType::kF32) {
  const int64_t size = static_cast<int64_t>(values.size());
  return {dtype, {size / 2, 2}, std::move(values)};
}

std::string Judge(const HostTensor& actual, const HostTensor& expected,
                  const Tolerance& tolerance) {
  const std::vector<int32_t> requests = {0, 7};
  return std::string(
      CompareTensors(actual, expected, tolerance, {"the case", "out", requests}).message());
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(CompareTest, EqualTensorsPass) {
  const HostTensor tensor = Tensor({1.0, -2.0, kNan, kInfinity});
  EXPECT_EQ(Judge(tensor, tensor, ToleranceFor(DType::kF32)), "");
  EXPECT_EQ(Judge(Tensor({}), Tensor({}), {}), "");
}

TEST(CompareTest, ShapeAndDtypeComeFirst) {
  EXPECT_TRUE(Contains(Judge(Tensor({1, 2}), Tensor({1, 2, 3, kNan}), {}),
                       "out is f32[1, 2], expected f32[2, 2]"));
  EXPECT_TRUE(Contains(Judge(Tensor({1, 2}), Tensor({1, 2}, DType::kF16), {1, 1, 1}),
                       "out is f32[1, 2], expected f16[1, 2]"));
  HostTensor cut = Tensor({1, 2});
  cut.values.pop_back();
  EXPECT_TRUE(Contains(Judge(cut, Tensor({1, 2}), {1, 1, 1}), "holds 1 values"));
}

TEST(CompareTest, NanAndInfinityMustStandAtTheSamePlaces) {
  const Tolerance loose = {1e9, 1e9, 1e9};
  const std::string report = Judge(Tensor({1, 2, 3, kNan}), Tensor({1, 2, 3, 4}), loose);
  EXPECT_TRUE(Contains(report, "out[1, 1] (request 7, row 1, head 1) is nan, expected 4"))
      << report;
  EXPECT_TRUE(Contains(report, "case: the case")) << report;
  EXPECT_NE(Judge(Tensor({1, 2}), Tensor({1, kNan}), loose), "");
  EXPECT_NE(Judge(Tensor({1, kInfinity}), Tensor({1, -kInfinity}), loose), "");
  EXPECT_NE(Judge(Tensor({1, kInfinity}), Tensor({1, kNan}), loose), "");
  EXPECT_NE(Judge(Tensor({1, kInfinity}), Tensor({1, 3e38}), loose), "");
}

TEST(CompareTest, ElementwiseBound) {
  // 0.1 + 0.01 * |4| = 0.14.
  const Tolerance tolerance = {1e9, 0.1, 0.01};
  EXPECT_EQ(Judge(Tensor({0, 4.139}), Tensor({0, 4}), tolerance), "");
  const std::string report = Judge(Tensor({0, 4.141}), Tensor({0, 4}), tolerance);
  EXPECT_TRUE(Contains(report, "out[0, 1] (request 0, row 0, head 1) is 4.141, expected 4"))
      << report;
  EXPECT_NE(Judge(Tensor({0, 1e-9}), Tensor({0, 0}), {1e9, 0, 0}), "");
}

TEST(CompareTest, RelativeFrobeniusBound) {
  // ||error|| / ||expected|| = 0.05 / 5.
  EXPECT_EQ(Judge(Tensor({3.03, 4.04}), Tensor({3, 4}), {0.0101, 1, 1}), "");
  EXPECT_TRUE(Contains(Judge(Tensor({3.03, 4.04}), Tensor({3, 4}), {0.0099, 1, 1}),
                       "relative Frobenius error 0.01, allowed 0.0099"));
  // Something where nothing is expected has no finite relative error.
  EXPECT_NE(Judge(Tensor({0, 1e-30}), Tensor({0, 0}), {1e9, 1, 1}), "");
}

TEST(CompareTest, TolerancesOfWhatWasRoundedBefore) {
  const Tolerance f32 = ToleranceFor(DType::kF32);
  const Tolerance f16 = ToleranceFor(DType::kF16);
  const Tolerance f8 = ToleranceFor(DType::kF8E4M3);
  // f32 before the end says nothing more.
  EXPECT_EQ(ToleranceFor(DType::kF16, DType::kF32).atol, f16.atol);
  EXPECT_EQ(ToleranceFor(DType::kF8E4M3, DType::kF32).rtol, f8.rtol);
  EXPECT_EQ(ToleranceFor(DType::kF32, DType::kF16).rtol, f16.rtol);
  EXPECT_EQ(ToleranceFor(DType::kF32, DType::kF32).rtol, f32.rtol);
  const Tolerance stored = ToleranceFor(DType::kF8E4M3, DType::kF16, 0.5);
  EXPECT_EQ(stored.atol, f8.atol + 2 * f16.atol);
  EXPECT_EQ(stored.rtol, f8.rtol + f16.rtol);
  EXPECT_EQ(stored.relative_frobenius, f8.relative_frobenius + f16.relative_frobenius);
}

TEST(CompareTest, TolerancesOfTheDtypes) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Tolerance tolerance = ToleranceFor(dtype);
    EXPECT_GT(tolerance.relative_frobenius, 0);
    const auto judge = [&](double relative_error) {
      return Judge(Tensor({1.0 + relative_error, 1.0 + relative_error}, dtype),
                   Tensor({1, 1}, dtype), tolerance);
    };
    EXPECT_EQ(judge(0.99 * tolerance.relative_frobenius), "");
    EXPECT_NE(judge(1.01 * tolerance.relative_frobenius), "");
  }
  EXPECT_EQ(ToleranceFor(DType::kI32).atol, 0);
}

TEST(CompareTest, OneRoundingToFp8PassesAndACutDoesNot) {
  for (DType dtype : {DType::kF8E4M3, DType::kF8E5M2}) {
    HostTensor expected = Tensor({}, dtype), rounded = expected, cut = expected;
    for (int i = 0; i < 2000; ++i) {
      const double x = std::ldexp(1.0 + i / 2000.0, i % 20 - 12) * (i % 3 == 0 ? -1 : 1);
      uint8_t code;
      StoreFloat(dtype, &code, 0, static_cast<float>(x));
      double stored = LoadFloat(dtype, &code, 0);
      expected.values.push_back(x);
      rounded.values.push_back(stored);
      if (std::abs(stored) > std::abs(x)) {
        --code;  // the magnitude's next smaller
        stored = LoadFloat(dtype, &code, 0);
      }
      cut.values.push_back(stored);
    }
    for (HostTensor* tensor : {&expected, &rounded, &cut}) tensor->extents = {1000, 2};
    EXPECT_EQ(Judge(rounded, expected, ToleranceFor(dtype)), "") << Name(dtype);
    EXPECT_NE(Judge(cut, expected, ToleranceFor(dtype)), "") << Name(dtype);
  }
}

TEST(CompareTest, TheNumbersComeBack) {
  Difference difference;
  ASSERT_TRUE(CompareTensors(Tensor({3, 4.05}), Tensor({3, 4}), {1, 0.1, 0}, {}, &difference).ok());
  EXPECT_NEAR(difference.worst_ratio, 0.5, 1e-9);
  EXPECT_NEAR(difference.relative_frobenius, 0.01, 1e-9);
  EXPECT_EQ(difference.worst, (std::vector<int64_t>{0, 1}));
}

TEST(CompareTest, LseBoundGrowsWithTheLogits) {
  const auto judge = [](double error, double logit) {
    return CompareLse(Tensor({2 + error, 1}), Tensor({2, 1}), {logit, 1.0}, {"", "lse", {}}).ok();
  };
  EXPECT_TRUE(judge(1.04e-5, 0.0));
  EXPECT_FALSE(judge(1.06e-5, 0.0));
  EXPECT_TRUE(judge(1.04e-3, 100.0));
  EXPECT_FALSE(judge(1.06e-3, 100.0));
  EXPECT_FALSE(CompareLse(Tensor({2, 1}), Tensor({2, 1}), {1.0}, {"", "lse", {}}).ok());
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(CompareLse(Tensor({-inf, 1}), Tensor({-inf, 1}), {0, 0}, {"", "lse", {}}).ok());
  EXPECT_FALSE(CompareLse(Tensor({-1e30, 1}), Tensor({-inf, 1}), {0, 0}, {"", "lse", {}}).ok());
}

TEST(CompareTest, BitsMustBeEqual) {
  const std::vector<uint8_t> expected = {0x00, 0x3c, 0x00, 0x00};  // f16: 1, 0
  std::vector<uint8_t> actual = expected;
  const CompareContext context = {"the case", "key cache", {}};
  EXPECT_TRUE(CompareBits(DType::kF16, {1, 2}, actual, expected, context).ok());
  actual[3] = 0x80;  // -0 is another pattern
  const std::string report(CompareBits(DType::kF16, {1, 2}, actual, expected, context).message());
  EXPECT_TRUE(Contains(report, "key cache[0, 1] is -0 (0x8000), expected the bits of 0 (0x0000)"))
      << report;
  EXPECT_FALSE(CompareBits(DType::kF16, {1, 3}, actual, expected, context).ok());
}

TEST(CompareTest, DecodesEveryFloatType) {
  const std::vector<uint8_t> half = {0x00, 0x3c, 0x00, 0xc0};
  EXPECT_EQ(DecodeTensor(DType::kF16, {1, 2}, half).values, (std::vector<double>{1, -2}));
  const std::vector<uint8_t> brain = {0x80, 0x3f, 0x00, 0xc0};
  EXPECT_EQ(DecodeTensor(DType::kBF16, {2}, brain).values, (std::vector<double>{1, -2}));
  const std::vector<uint8_t> single = {0x00, 0x00, 0x80, 0x3f};
  EXPECT_EQ(DecodeTensor(DType::kF32, {1}, single).values, (std::vector<double>{1}));
}

}  // namespace
}  // namespace weft::testing
