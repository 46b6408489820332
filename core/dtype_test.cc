// SPDX-License-Identifier: Apache-2.0
#include "core/dtype.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

uint32_t BitsOf(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// The value of a code by the definition of IEEE 754, in double: an independent way to convert.
double Decode(uint16_t code, int exponent_bits, int mantissa_bits) {
  const int exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = code & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (code & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return mantissa != 0 ? std::nan("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

struct HalfType {
  const char* name;
  int exponent_bits;
  int mantissa_bits;
  float (*to_f32)(uint16_t);
  uint16_t (*from_f32)(float);
};

class HalfTypeTest : public testing::TestWithParam<HalfType> {};

TEST_P(HalfTypeTest, EveryCodeDecodesToItsDefinitionAndComesBack) {
  const HalfType& type = GetParam();
  for (int code = 0; code < 0x10000; ++code) {
    const uint16_t bits = static_cast<uint16_t>(code);
    const double expected = Decode(bits, type.exponent_bits, type.mantissa_bits);
    const float value = type.to_f32(bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << code;
      const uint16_t back = type.from_f32(value);
      ASSERT_TRUE(std::isnan(Decode(back, type.exponent_bits, type.mantissa_bits))) << code;
      ASSERT_EQ(back & 0x8000, code & 0x8000) << "sign of the NaN " << code;
      continue;
    }
    ASSERT_EQ(BitsOf(value), BitsOf(static_cast<float>(expected))) << code;
    ASSERT_EQ(type.from_f32(value), bits) << code;
  }
}

TEST_P(HalfTypeTest, RoundsToNearestTiesToEven) {
  const HalfType& type = GetParam();
  const int infinity = ((1 << type.exponent_bits) - 1) << type.mantissa_bits;
  for (int code = 0; code < infinity; ++code) {
    const double low = Decode(static_cast<uint16_t>(code), type.exponent_bits, type.mantissa_bits);
    // Behind the largest finite code the next step would be here; values from half way on overflow.
    const double high = code + 1 == infinity ? std::ldexp(1.0, 1 << (type.exponent_bits - 1))
                                             : Decode(static_cast<uint16_t>(code + 1),
                                                      type.exponent_bits, type.mantissa_bits);
    const double middle = (low + high) / 2;
    const float tie = static_cast<float>(middle);
    if (static_cast<double>(tie) != middle)
      continue;  // the tie of bf16's smallest denormals is no float
    const uint16_t even = static_cast<uint16_t>(code % 2 == 0 ? code : code + 1);
    const float below = std::nextafterf(tie, 0.0f);
    const float above = std::nextafterf(tie, INFINITY);
    ASSERT_EQ(type.from_f32(tie), even) << code;
    ASSERT_EQ(type.from_f32(below), code) << code;
    ASSERT_EQ(type.from_f32(above), code + 1) << code;
    ASSERT_EQ(type.from_f32(-tie), even | 0x8000) << code;
    ASSERT_EQ(type.from_f32(-above), (code + 1) | 0x8000) << code;
  }
}

TEST_P(HalfTypeTest, Extremes) {
  const HalfType& type = GetParam();
  const uint16_t infinity =
      static_cast<uint16_t>(((1 << type.exponent_bits) - 1) << type.mantissa_bits);
  EXPECT_EQ(type.from_f32(INFINITY), infinity);
  EXPECT_EQ(type.from_f32(-INFINITY), infinity | 0x8000);
  EXPECT_EQ(type.from_f32(std::numeric_limits<float>::max()), infinity);
  EXPECT_EQ(type.from_f32(0.0f), 0);
  EXPECT_EQ(type.from_f32(-0.0f), 0x8000);
  EXPECT_EQ(type.from_f32(std::numeric_limits<float>::denorm_min()), 0);
}

INSTANTIATE_TEST_SUITE_P(Types, HalfTypeTest,
                         testing::Values(HalfType{"f16", 5, 10, F16ToF32, F32ToF16},
                                         HalfType{"bf16", 8, 7, BF16ToF32, F32ToBF16}),
                         [](const auto& info) { return info.param.name; });

struct Fp8Type {
  const char* name;
  int exponent_bits;
  int mantissa_bits;
  int bias;
  int largest;  // code
  float (*to_f32)(uint8_t);
  uint8_t (*from_f32)(float);

  // By the definition of the Open Compute Project, in double.
  double Decode(int code) const {
    const int magnitude = code & 0x7f;
    if (magnitude > largest) {
      return exponent_bits == 5 && magnitude == 0x7c ? INFINITY : std::nan("");
    }
    const int exponent = magnitude >> mantissa_bits;
    const int mantissa = magnitude & ((1 << mantissa_bits) - 1);
    if (exponent == 0) return std::ldexp(mantissa, 1 - bias - mantissa_bits);
    return std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
  }
};

class Fp8TypeTest : public testing::TestWithParam<Fp8Type> {};

TEST_P(Fp8TypeTest, EveryCodeDecodesToItsDefinitionAndComesBack) {
  const Fp8Type& type = GetParam();
  for (int code = 0; code < 0x100; ++code) {
    const double expected = (code & 0x80) != 0 ? -type.Decode(code) : type.Decode(code);
    const float value = type.to_f32(static_cast<uint8_t>(code));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << code;
      ASSERT_EQ(type.from_f32(value), (code & 0x80) | 0x7f) << code;
      continue;
    }
    ASSERT_EQ(BitsOf(value), BitsOf(static_cast<float>(expected))) << code;
    const int back = std::isinf(value) ? (code & 0x80) | type.largest : code;  // saturates
    ASSERT_EQ(type.from_f32(value), back) << code;
  }
}

TEST_P(Fp8TypeTest, RoundsToNearestTiesToEvenAndSaturates) {
  const Fp8Type& type = GetParam();
  for (int code = 0; code < type.largest; ++code) {
    const auto tie = static_cast<float>((type.Decode(code) + type.Decode(code + 1)) / 2);
    const int even = code % 2 == 0 ? code : code + 1;
    ASSERT_EQ(type.from_f32(tie), even) << code;
    ASSERT_EQ(type.from_f32(std::nextafterf(tie, 0.0f)), code) << code;
    ASSERT_EQ(type.from_f32(std::nextafterf(tie, INFINITY)), code + 1) << code;
    ASSERT_EQ(type.from_f32(-tie), even | 0x80) << code;
  }
  const auto largest = static_cast<float>(type.Decode(type.largest));
  for (const float value : {largest, std::nextafterf(largest, INFINITY), 2 * largest,
                            std::numeric_limits<float>::max(), static_cast<float>(INFINITY)}) {
    EXPECT_EQ(type.from_f32(value), type.largest) << value;
    EXPECT_EQ(type.from_f32(-value), type.largest | 0x80) << value;
  }
  EXPECT_EQ(type.from_f32(std::numeric_limits<float>::denorm_min()), 0);
}

INSTANTIATE_TEST_SUITE_P(Types, Fp8TypeTest,
                         testing::Values(Fp8Type{"e4m3", 4, 3, 7, 0x7e, F8E4M3ToF32, F32ToF8E4M3},
                                         Fp8Type{"e5m2", 5, 2, 15, 0x7b, F8E5M2ToF32, F32ToF8E5M2}),
                         [](const auto& info) { return info.param.name; });

TEST(DTypeTest, SizesAndNames) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI32, DType::kI64,
                            DType::kF8E4M3, DType::kF8E5M2, DType::kU8}) {
    const absl::StatusOr<DType> parsed = ParseDType(Name(dtype));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, dtype);
    EXPECT_EQ(ToDlpack(dtype).bits, 8 * SizeOf(dtype));
  }
  EXPECT_EQ(ToDlpack(DType::kBF16).code, 4);
  EXPECT_EQ(ToDlpack(DType::kI64).code, 0);
}

TEST(DTypeTest, UnknownNameIsQuotedAndEscaped) {
  const absl::Status status = ParseDType("int4\n").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), testing::HasSubstr("'int4\\n'"));
}

TEST(DTypeTest, LoadAndStoreUnaligned) {
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2}) {
    unsigned char memory[32] = {};
    StoreFloat(dtype, memory + 1, 2, -1.5f);
    EXPECT_EQ(LoadFloat(dtype, memory + 1, 2), -1.5f);
    EXPECT_EQ(LoadFloat(dtype, memory + 1, 1), 0.0f);
    EXPECT_EQ(LoadFloat(dtype, memory + 1, 3), 0.0f);
  }
}

}  // namespace
}  // namespace weft
