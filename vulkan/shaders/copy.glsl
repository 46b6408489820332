// SPDX-License-Identifier: Apache-2.0
//
// Copies in units of the largest size that addresses and strides allow: 16, 4, 2 or 1 bytes. The
// first has a kernel of its own, the others share one.
#ifndef WEFT_VULKAN_SHADERS_COPY_GLSL_
#define WEFT_VULKAN_SHADERS_COPY_GLSL_

#include "common.glsl"

layout(constant_id = 0) const bool WHOLE = true;  // units of 16 bytes
layout(local_size_x_id = 1) in;
layout(constant_id = 1) const uint THREADS = 64;

void CopyUnit(uint64_t to, uint64_t from, uint unit_bytes) {
  if (WHOLE) {
    Ref128(to).x = Ref128(from).x;
  } else if (unit_bytes == 4) {
    Ref32(to).x = Ref32(from).x;
  } else if (unit_bytes == 2) {
    Ref16(to).x = Ref16(from).x;
  } else {
    Ref8(to).x = Ref8(from).x;
  }
}

#endif  // WEFT_VULKAN_SHADERS_COPY_GLSL_
