// SPDX-License-Identifier: Apache-2.0
//
// The kernels' arithmetic, run on the CPU, against core/dtype.h.
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/divisor.h"
#include "core/dtype.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/host_device.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

uint32_t Expected(ElementType type, float value) {
  return type == ElementType::kE5M2 ? F32ToF8E5M2(value) : F32ToF8E4M3(value);
}

float QuotientOf(float x, float scale) {
  float values[1] = {x};
  DivideAll(MakeQuotient(scale), ElementType::kF32, values);
  return values[0];
}

constexpr ElementType kTypes[] = {ElementType::kE4M3, ElementType::kE5M2};

TEST(Divide, IsTheQuotient) {
  const uint32_t most = std::numeric_limits<int32_t>::max();
  for (uint32_t d : {1u, 2u, 3u, 5u, 7u, 16u, 48u, 544u, 65535u, 65537u, most - 1, most}) {
    const Divisor by = MakeDivisor(d);
    for (uint32_t n : {0u, 1u, d - 1, d, d + 1, 2 * (d / 2) + 1, most / d * d - 1, most / d * d,
                       most - 1, most}) {
      if (n > most) continue;
      EXPECT_EQ(Divide(n, by), n / d) << n << " / " << d;
    }
  }
}

TEST(ElementType, KnowsItsBytes) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2}) {
    EXPECT_EQ(ElementBytes(ToElementType(dtype)), SizeOf(dtype));
  }
}

TEST(Fp8, EveryCodeIsReadExactly) {
  for (uint32_t code = 0; code < 256; ++code) {
    for (ElementType type : kTypes) {
      const auto byte = static_cast<uint8_t>(code);
      const float expected = type == ElementType::kE5M2 ? F8E5M2ToF32(byte) : F8E4M3ToF32(byte);
      const float actual = FloatOfFp8(type, code);
      EXPECT_EQ(std::signbit(actual), std::signbit(expected)) << code;
      EXPECT_EQ(std::isnan(actual), std::isnan(expected)) << code;
      if (std::isnan(expected)) continue;
      EXPECT_EQ(actual, expected) << code;
    }
  }
}

// Every value of f16, and the floats beside it: all ties, and all that is nearly one.
TEST(Fp8, EveryTieIsRoundedAsTheHostDoes) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = F16ToF32(static_cast<uint16_t>(half));
    for (float x : {value, std::nextafter(value, 0.0f), std::nextafter(value, 1e30f), value * 4e8f,
                    value * 1e-20f}) {
      for (ElementType type : kTypes) {
        ASSERT_EQ(Fp8OfFloat(type, x), Expected(type, x)) << x;
      }
    }
  }
}

TEST(Quotient, HasTheCodesOfTheDivision) {
  std::mt19937 random(5);
  const float least = std::numeric_limits<float>::denorm_min();
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> scales = {1.0f,   0.25f, 0.003f, 0x1.fffffep0f, 0x1.000002p0f, 1e-30f,  1e30f,
                               3e-38f, least, 1e-41f, 3e38f,         0x1p60f,       0x1p-60f};
  for (int i = 0; i < 200; ++i) {
    scales.push_back(std::ldexp(1.0f + static_cast<float>(random() % 0x800000) * 0x1p-23f,
                                static_cast<int>(random() % 24) - 12));
  }
  for (float scale : scales) {
    std::vector<float> values = {0.0f, -0.0f, infinity, -infinity, NAN, least, -least, 3e38f};
    for (uint32_t code = 0; code < 0x7b; ++code) {
      for (ElementType type : kTypes) {  // where codes meet, and a step to both sides
        const float tie = (FloatOfFp8(type, code) + FloatOfFp8(type, code + 1)) / 2.0f * scale;
        values.insert(values.end(), {tie, -std::nextafter(tie, 0.0f), std::nextafter(tie, 3e38f)});
      }
    }
    for (int i = 0; i < 2000; ++i) {
      values.push_back(FloatOfBits(random()));
      const float exponent = static_cast<float>(random() % 4096) / 128.0f - 18.0f;
      values.push_back(std::exp2(exponent) * scale);
    }
    for (float x : values) {
      for (ElementType type : kTypes) {
        const uint32_t code = Fp8OfFloat(type, QuotientOf(x, scale));
        if (std::isnan(x)) {
          ASSERT_EQ(code & 0x7fu, 0x7fu);
        } else {
          ASSERT_EQ(code, Expected(type, x / scale)) << x << " / " << scale;
        }
      }
    }
  }
}

// Every number of 16 bits, by scales of any kind and by all that the proof of BriefQuotient leaves.
TEST(Quotient, OfSixteenBitsHasTheCodesOfTheDivision) {
  std::mt19937 random(7);
  std::vector<float> scales = {0.75f, 1.25f, 3e-38f, 3e38f, 0x1.23456p-59f, 0x1.23456p59f};
  for (uint32_t multiple = 0; multiple <= 8; ++multiple) {
    for (int32_t off = -8; off <= 8; ++off)
      scales.push_back(FloatOfBits(0x3f800000u + (multiple << 20) + static_cast<uint32_t>(off)));
  }
  for (int i = 0; i < 40; ++i) scales.push_back(FloatOfBits(0x3c000000u + random() % 0x4000000u));
  for (float scale : scales) {
    const Quotient by = MakeQuotient(scale);
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float f16 = F16ToF32(static_cast<uint16_t>(bits));
      for (float x : {f16, FloatOfBits(bits << 16)}) {
        if (std::isnan(x)) continue;
        float value[1] = {x};
        DivideAll(by, ElementType::kBF16, value);
        const float quotient = x / scale;
        // The same float mostly, so the codes need a look only where it is not.
        if (BitsOfFloat(value[0]) == BitsOfFloat(quotient)) continue;
        for (ElementType type : kTypes)
          ASSERT_EQ(Fp8OfFloat(type, value[0]), Expected(type, quotient)) << x << " / " << scale;
      }
    }
  }
}

// Not the codes only: inside the bounds the quotient itself is the nearest float.
TEST(Quotient, IsTheNearestFloat) {
  std::mt19937 random(6);
  const auto any = [&] {
    return std::ldexp(1.0f + static_cast<float>(random() % 0x800000) * 0x1p-23f,
                      static_cast<int>(random() % 8) - 4);
  };
  for (int i = 0; i < 400000; ++i) {
    const float scale = i % 8 == 0 ? 0x1.fffffep1f : any(), x = i % 8 == 1 ? 0x1.fffffep1f : any();
    ASSERT_EQ(QuotientOf(x, scale), x / scale) << x << " / " << scale;
  }
}

}  // namespace
}  // namespace weft::cuda
