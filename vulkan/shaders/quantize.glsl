// SPDX-License-Identifier: Apache-2.0
//
// x / scale, rounded to float and then to fp8, both to nearest even: the bits of core/dtype.h on
// every device. GLSL's division is good to 2.5 ulp only, and fma() need not be fused, so that
// quotients are made of integers; scales that are powers of two need no division.
#ifndef WEFT_VULKAN_SHADERS_QUANTIZE_GLSL_
#define WEFT_VULKAN_SHADERS_QUANTIZE_GLSL_

#include "element.glsl"

// A positive finite float: significand * 2^(exponent - 150), with bit 23 of the significand set.
struct Scale {
  float inverse;  // exact; 0: the scale is no power of two, or a very large or small one
  uint significand;
  int exponent;
};

void TakeApart(uint magnitude, out uint significand, out int exponent) {
  exponent = int(magnitude >> 23);
  significand = magnitude & 0x7fffffu;
  if (exponent != 0) {
    significand |= 0x800000u;
  } else {
    const int shift = 23 - findMSB(significand);
    significand <<= shift;
    exponent = 1 - shift;
  }
}

Scale MakeScale(float value) {
  Scale scale;
  const uint bits = floatBitsToUint(value);
  TakeApart(bits, scale.significand, scale.exponent);
  // What the product loses to denormals, and to overflow, rounds to 0, and saturates, anyway.
  const bool power = scale.significand == 0x800000u && abs(scale.exponent - 127) <= 96;
  scale.inverse = power ? uintBitsToFloat((254u << 23) - bits) : 0.0;
  return scale;
}

// The float nearest to x / scale, for a finite x other than 0; 0 for what no float but a denormal
// comes near to.
float Quotient(float x, Scale scale) {
  const uint bits = floatBitsToUint(x);
  uint significand;
  int exponent;
  TakeApart(bits & 0x7fffffffu, significand, exponent);
  if (significand < scale.significand) {
    significand <<= 1;
    exponent -= 1;
  }
  // quotient = floor(significand * 2^24 / scale.significand), in [2^24, 2^25): guessed, then put
  // right by the remainder, which is exact.
  const float divisor = float(scale.significand);
  int quotient = int(float(significand) / divisor * 16777216.0);
  int64_t rest = (int64_t(significand) << 24) - int64_t(quotient) * int64_t(scale.significand);
  const int step = int(floor(float(int(rest)) / divisor));
  quotient += step;
  rest -= int64_t(step) * int64_t(scale.significand);
  if (rest < 0) quotient -= 1;
  if (rest >= int64_t(scale.significand)) quotient += 1;
  // Its last bit decides on the rounding: a quotient of two floats never lies half way between two.
  const uint rounded = uint(quotient + 1) >> 1;
  const int field = exponent - scale.exponent + 127;
  const uint magnitude = field < 1     ? 0u
                         : field > 254 ? 0x7f800000u
                                       : (uint(field) << 23) + (rounded - 0x800000u);
  return uintBitsToFloat((bits & 0x80000000u) | magnitude);
}

uint Quantize(uint dtype, float x, Scale scale) {
  if (scale.inverse != 0.0) return Float8OfFloat(dtype, x * scale.inverse);
  const uint magnitude = floatBitsToUint(x) & 0x7fffffffu;
  if (magnitude == 0 || magnitude >= 0x7f800000u) return Float8OfFloat(dtype, x);
  return Float8OfFloat(dtype, Quotient(x, scale));
}

// Up to 4 adjacent elements from `from` on, the first in the lowest byte.
uint QuantizeQuad(uint from_dtype, uint64_t from, uint count, uint dtype, Scale scale) {
  const uint bytes = ElementBytes(from_dtype);
  uint codes = 0;
  [[dont_unroll]] for (uint i = 0; i < count; ++i) {
    codes |= Quantize(dtype, LoadElement(from_dtype, from + i * bytes), scale) << (8 * i);
  }
  return codes;
}

#endif  // WEFT_VULKAN_SHADERS_QUANTIZE_GLSL_
