// SPDX-License-Identifier: Apache-2.0
//
// A finished row: its normalisation, with a sink; output and log-sum-exp.
#ifndef WEFT_VULKAN_SHADERS_ATTENTION_OUTPUT_GLSL_
#define WEFT_VULKAN_SHADERS_ATTENTION_OUTPUT_GLSL_

#include "attention_params.glsl"
#include "element.glsl"

uint64_t OutRow(AttentionParams p, uint row, uint head) {
  return p.out_rows + row * p.out_row_stride + head * p.out_head_stride;
}

void StoreDim(AttentionParams p, uint64_t row, uint dim, float value) {
  StoreElement(p.out_dtype, row + dim * ElementBytes(p.out_dtype), value * p.inverse_out_scale);
}

// What the weighted sum of values is multiplied with. A row that sees nothing stays 0, sink or not;
// a sink of -infinity changes no bit.
float Normaliser(AttentionParams p, uint head, uint kv_head, float maximum, float total) {
  if (total == 0.0) return 0.0;
  precise float unit = p.value_unit * LoadOptional(p.v_scales, kv_head, 1.0);
  if (p.sinks == 0) return unit / total;
  const float sink = LoadOptional(p.sinks, head, 0.0);
  const float larger = max(maximum, sink);
  const float keep = larger == maximum ? 1.0 : exp2((maximum - larger) * kLog2E);
  const float add = exp2((sink - larger) * kLog2E);
  precise float divisor = fma(total, keep, add);
  return unit * keep / divisor;
}

// Without the sink.
void StoreLse(AttentionParams p, uint row, uint head, float maximum, float total) {
  if (p.lse == 0) return;
  // A row that sees nothing has no weight at all; log(0) is not -infinity on every device.
  const float lse = total == 0.0 ? uintBitsToFloat(0xff800000u) : maximum + log(total);
  RefFloat(p.lse + row * p.lse_row_stride + head * p.lse_head_stride).x = lse;
}

#endif  // WEFT_VULKAN_SHADERS_ATTENTION_OUTPUT_GLSL_
