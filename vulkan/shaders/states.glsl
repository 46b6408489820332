// SPDX-License-Identifier: Apache-2.0
//
// Weights of partial softmaxes, from their log-sum-exps.
#ifndef WEFT_VULKAN_SHADERS_STATES_GLSL_
#define WEFT_VULKAN_SHADERS_STATES_GLSL_

#include "element.glsl"

#define kEmpty uintBitsToFloat(0xff800000u)

uint MagnitudeBits(float value) { return floatBitsToUint(value) & 0x7fffffffu; }
bool IsInfinite(float value) { return MagnitudeBits(value) == 0x7f800000u; }
bool IsFinite(float value) { return MagnitudeBits(value) < 0x7f800000u; }

// 2^((lse - origin) * unit): of an empty state 0, whatever the origin, and exactly 1 at the origin.
float Weight(float lse, float origin, float unit) {
  if (lse == kEmpty) return 0.0;
  return lse == origin ? 1.0 : exp2((lse - origin) * unit);
}

#endif  // WEFT_VULKAN_SHADERS_STATES_GLSL_
