// SPDX-License-Identifier: Apache-2.0
//
// Copies in units of the largest size that addresses and strides allow: 16, 4 or 2 bytes.
#ifndef WEFT_VULKAN_SHADERS_COPY_GLSL_
#define WEFT_VULKAN_SHADERS_COPY_GLSL_

#include "common.glsl"

layout(constant_id = 0) const uint UNIT_BYTES = 16;
layout(local_size_x_id = 1) in;
layout(constant_id = 1) const uint THREADS = 64;

void CopyUnit(uint64_t to, uint64_t from) {
  if (UNIT_BYTES == 16) {
    Ref128(to).x = Ref128(from).x;
  } else if (UNIT_BYTES == 4) {
    Ref32(to).x = Ref32(from).x;
  } else {
    Ref16(to).x = Ref16(from).x;
  }
}

#endif  // WEFT_VULKAN_SHADERS_COPY_GLSL_
