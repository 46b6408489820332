#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// The granule states of one (decode row, query head), merged from left to right, normalised (with
// the sink) and written out. A row of one granule is that granule's state, normalised.

#include "attention_output.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 64;

const uint kAhead = 8;      // states whose loads run beside each other

float ReadFloat(uint64_t address) { return RefFloat(address).x; }

void MergeDim(AttentionParams p, uint64_t first_state, uint num_states, uint dim, out float maximum,
              out precise float total, out precise float weighted) {
  maximum = uintBitsToFloat(0xff800000u);
  total = 0.0;
  weighted = 0.0;
  for (uint base = 0; base < num_states; base += kAhead) {
    float m[kAhead];
    float l[kAhead];
    float o[kAhead];
    UNROLL for (uint i = 0; i < kAhead; ++i) {
      const uint64_t state = first_state + uint64_t(min(base + i, num_states - 1)) * p.num_heads;
      m[i] = ReadFloat(p.partial_stats + state * 8);
      l[i] = ReadFloat(p.partial_stats + state * 8 + 4);
      o[i] = ReadFloat(p.partial_sums + (state * p.head_size + dim) * 4);
    }
    UNROLL for (uint i = 0; i < kAhead; ++i) {
      const bool first = base + i == 0;
      const float larger = first ? m[i] : max(maximum, m[i]);
      // The factor of the larger state is exactly 1; and no -inf - -inf.
      const float keep = larger == maximum ? 1.0 : exp2((maximum - larger) * kLog2E);
      const float add = larger == m[i] ? 1.0 : exp2((m[i] - larger) * kLog2E);
      precise float new_total = fma(total, keep, l[i] * add);
      precise float new_weighted = fma(weighted, keep, o[i] * add);
      if (base + i < num_states) {
        maximum = larger;
        total = first ? l[i] : new_total;
        weighted = first ? o[i] : new_weighted;
      }
    }
  }
}

void main() {
  AttentionParams p = AttentionParams(push.params);
  const uint work = WorkgroupIndex();
  const uint head = work % p.num_heads;
  const uint index = work / p.num_heads;
  if (index >= p.num_work) return;
  const uint64_t decode_row = p.decode_rows + index * uint64_t(32);
  const ivec4 row = RefInt4(decode_row).x;
  const uint num_states = Ref32(decode_row + 24).x;  // num_granules
  if (num_states == 0) return;                       // fills up a table
  const uint64_t first_state = uint64_t(row.w) * p.num_heads + head;
  const uint64_t out_row = OutRow(p, uint(row.x), head);
  for (uint dim = gl_LocalInvocationIndex; dim < p.head_size; dim += THREADS) {
    float maximum;
    float total;
    float weighted;
    MergeDim(p, first_state, num_states, dim, maximum, total, weighted);
    const float factor =
        Normaliser(p, head, Divide(head, p.by_group_size), maximum, total);
    StoreDim(p, out_row, dim, weighted * factor);
    if (dim == 0) StoreLse(p, uint(row.x), head, maximum, total);
  }
}
