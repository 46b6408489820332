// SPDX-License-Identifier: Apache-2.0
//
// One element at a time, of any float or fp8 type; the type is a run-time value.
#ifndef WEFT_VULKAN_SHADERS_ELEMENT_GLSL_
#define WEFT_VULKAN_SHADERS_ELEMENT_GLSL_

#include "common.glsl"
#include "convert.glsl"

uint ElementBytes(uint dtype) { return dtype == kF32 ? 4 : dtype >= kE4M3 ? 1 : 2; }

float LoadElement(uint dtype, uint64_t address) {
  if (dtype == kF32) return RefFloat(address).x;
  if (dtype >= kE4M3) return FloatOfFloat8(dtype, uint(Ref8(address).x));
  return WidenPair(dtype, uint(Ref16(address).x)).x;
}

void StoreElement(uint dtype, uint64_t address, float value) {
  if (dtype == kF32) {
    RefFloat(address).x = value;
  } else if (dtype >= kE4M3) {
    Ref8(address).x = uint8_t(Float8OfFloat(dtype, value));
  } else {
    Ref16(address).x = uint16_t(NarrowOfFloat(dtype, value));
  }
}

#endif  // WEFT_VULKAN_SHADERS_ELEMENT_GLSL_
