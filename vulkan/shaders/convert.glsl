// SPDX-License-Identifier: Apache-2.0
//
// Elements of queries, keys, values and outputs: exact conversions to float, and from float by
// round to nearest, ties to even, as core/dtype.h. From float they are integer arithmetic, since
// neither the rounding of packHalf2x16 nor denormals are promised by every device.
#ifndef WEFT_VULKAN_SHADERS_CONVERT_GLSL_
#define WEFT_VULKAN_SHADERS_CONVERT_GLSL_

const uint kF32 = 0;
const uint kF16 = 1;
const uint kBF16 = 2;
const uint kE4M3 = 3;
const uint kE5M2 = 4;

uint HalfOfFloat(float value) {
  const uint bits = floatBitsToUint(value);
  const uint sign = (bits >> 16) & 0x8000u;
  const uint magnitude = bits & 0x7fffffffu;
  // Normal halves: rebias the exponent by -112, round the 13 bits that go. Overflow runs into
  // infinity by itself up to the clamp.
  const uint rebased = magnitude - (112u << 23);
  uint half_bits = min((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13, 0x7c00u);
  // Denormal halves (below 2^-14): the significand with its hidden bit, shifted right by 14 to 24
  // bits. At a shift of 25 and more only zero is left; the clamp keeps the shift defined.
  if (magnitude < (113u << 23)) {
    const uint shift = min(126u - (magnitude >> 23), 25u);
    const uint significand = (magnitude & 0x7fffffu) | 0x800000u;
    half_bits = (significand + (1u << (shift - 1u)) - 1u + ((significand >> shift) & 1u)) >> shift;
  }
  if (magnitude > 0x7f800000u) half_bits = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  return sign | half_bits;
}

uint BFloatOfFloat(float value) {
  const uint bits = floatBitsToUint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;  // a NaN stays one
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

uint NarrowOfFloat(uint dtype, float value) {
  return dtype == kBF16 ? BFloatOfFloat(value) : HalfOfFloat(value);
}

// The two elements of a word; kF16 or kBF16.
vec2 WidenPair(uint dtype, uint word) {
  if (dtype == kBF16) return vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u));
  return unpackHalf2x16(word);
}

// Saturates, infinities too, as core/dtype.h does.
uint Float8OfFloat(uint dtype, float value) {
  const bool e5m2 = dtype == kE5M2;
  const uint bits = floatBitsToUint(value);
  const uint sign = (bits >> 24) & 0x80u;
  const uint magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7fu;
  // As HalfOfFloat: normal codes by rebiasing, what is smaller by shifting the significand. A sum
  // of the two rounds into the next exponent by itself.
  const uint drop = e5m2 ? 21u : 20u;
  const uint bias = e5m2 ? 112u : 120u;  // by which exponents differ
  const uint rebased = magnitude - (bias << 23);
  uint code = (rebased + (1u << (drop - 1u)) - 1u + ((rebased >> drop) & 1u)) >> drop;
  if (magnitude < ((bias + 1u) << 23)) {
    const uint shift = min(drop + 1u + bias - (magnitude >> 23), 25u);
    const uint significand = (magnitude & 0x7fffffu) | 0x800000u;
    code = (significand + (1u << (shift - 1u)) - 1u + ((significand >> shift) & 1u)) >> shift;
  }
  return sign | min(code, e5m2 ? 0x7bu : 0x7eu);
}

// Two fp8 codes, each in a half of the word, as halves. Those of e5m2 are exact; those of e4m3 are
// 2^-8 of the value (Float8Unit), exact too, since shifting does not rebias their exponents. That
// goes for denormals, which become denormal halves; NaN is 0x7f in e4m3, and by itself in e5m2.
uint HalvesOfFloat8(uint dtype, uint pair) {
  const bool e5m2 = dtype == kE5M2;
  const uint magnitude = pair & 0x007f007fu;
  const uint nan = (magnitude + 0x00010001u) & (e5m2 ? 0u : 0x00800080u);
  return (pair & 0x00800080u) << 8 | magnitude << (e5m2 ? 8u : 7u) | nan << 7;
}

// The factor that is missing from HalvesOfFloat8.
float Float8Unit(uint dtype) { return dtype == kE4M3 ? 256.0 : 1.0; }

// The bytes of a word, two to a word.
uvec2 PairsOfBytes(uint word) {
  return uvec2((word & 0xffu) | (word & 0xff00u) << 8,
               ((word >> 16) & 0xffu) | ((word >> 8) & 0xff0000u));
}

float FloatOfFloat8(uint dtype, uint code) {
  return unpackHalf2x16(HalvesOfFloat8(dtype, code)).x * Float8Unit(dtype);
}

#endif  // WEFT_VULKAN_SHADERS_CONVERT_GLSL_
