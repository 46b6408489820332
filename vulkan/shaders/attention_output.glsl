// SPDX-License-Identifier: Apache-2.0
//
// A finished row: output in the query's type, log-sum-exp in float.
#ifndef WEFT_VULKAN_SHADERS_ATTENTION_OUTPUT_GLSL_
#define WEFT_VULKAN_SHADERS_ATTENTION_OUTPUT_GLSL_

#include "attention_params.glsl"
#include "convert.glsl"

uint64_t OutRow(AttentionParams p, uint row, uint head) {
  return p.out_rows + row * p.out_row_stride + head * p.out_head_stride;
}

void StoreElement(uint dtype, uint64_t row, uint dim, float value) {
  if (dtype == kF32) {
    Ref32(row + 4 * dim).x = floatBitsToUint(value);
  } else {
    Ref16(row + 2 * dim).x = uint16_t(NarrowOfFloat(dtype, value));
  }
}

void StoreLse(AttentionParams p, uint row, uint head, float maximum, float total) {
  if (p.lse == 0) return;
  // A row that sees nothing has no weight at all; log(0) is not -infinity on every device.
  const float lse = total == 0.0 ? uintBitsToFloat(0xff800000u) : maximum + log(total);
  RefFloat(p.lse + row * p.lse_row_stride + head * p.lse_head_stride).x = lse;
}

#endif  // WEFT_VULKAN_SHADERS_ATTENTION_OUTPUT_GLSL_
