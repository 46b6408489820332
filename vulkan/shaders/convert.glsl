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

#endif  // WEFT_VULKAN_SHADERS_CONVERT_GLSL_
