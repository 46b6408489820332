#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
// SPDX-License-Identifier: Apache-2.0
//
// Two normalised states of the same rows become one (core/queue.h, MergeStatesArgs).
//
// Grid: rows x heads. Workgroup: THREADS lanes, one (row, head), dimension by dimension. Shared
// memory: none. Bytes: a and b read once, out written once; 12 of log-sum-exps. The output may be
// one of the inputs: an element, and the log-sum-exps, are read before they are written.

#include "states.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 64;

// Strides in bytes.
struct State {
  uint64_t rows;
  uint64_t row_stride;
  uint64_t head_stride;
  uint64_t lse;
  uint64_t lse_row_stride;
  uint64_t lse_head_stride;
};

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer MergeStatesParams {
  State a;
  State b;
  State merged;    // lse 0: not wanted
  uint64_t sinks;  // 0: none
  uint rows;
  uint heads;
  uint head_size;
  uint dtype;  // of a and b
  uint out_dtype;
  float inverse_out_scale;
};

uint64_t LseOf(State state, uint row, uint head) {
  return state.lse + row * state.lse_row_stride + head * state.lse_head_stride;
}

uint64_t RowOf(State state, uint row, uint head) {
  return state.rows + row * state.row_stride + head * state.head_stride;
}

// Either infinity says that the state is empty.
float ReadLse(State state, uint row, uint head) {
  const float lse = RefFloat(LseOf(state, row, head)).x;
  return IsInfinite(lse) ? kEmpty : lse;
}

void main() {
  MergeStatesParams p = MergeStatesParams(push.params);
  const uint work = WorkgroupIndex();
  const uint row = work / p.heads;
  const uint head = work % p.heads;
  if (row >= p.rows) return;
  const float a_lse = ReadLse(p.a, row, head);
  const float b_lse = ReadLse(p.b, row, head);
  const float sink = LoadOptional(p.sinks, head, kEmpty);
  // NaN goes its way through the weights: max() may drop it.
  const float maximum = max(a_lse, b_lse);
  const float largest = max(maximum, sink);
  const float a_weight = Weight(a_lse, largest, kLog2E);
  const float b_weight = Weight(b_lse, largest, kLog2E);
  precise float divisor = a_weight + b_weight + Weight(sink, largest, kLog2E);
  const bool has_a = a_lse != kEmpty;
  const bool has_b = b_lse != kEmpty;
  // All lanes have read the log-sum-exps before the first one overwrites them.
  controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup, gl_StorageSemanticsBuffer,
                 gl_SemanticsAcquireRelease);

  const uint bytes = ElementBytes(p.dtype);
  const uint out_bytes = ElementBytes(p.out_dtype);
  // All dimensions before d, of other lanes too, are taken.
  for (uint d = gl_LocalInvocationIndex; d < p.head_size; d += THREADS) {
    precise float total = 0.0;
    if (has_a) {
      precise float term = LoadElement(p.dtype, RowOf(p.a, row, head) + d * bytes) * a_weight;
      total = term;
    }
    if (has_b) {
      precise float term = LoadElement(p.dtype, RowOf(p.b, row, head) + d * bytes) * b_weight;
      total = has_a ? total + term : term;
    }
    // A quotient of 1 is the state itself, to the bit.
    if ((has_a || has_b) && divisor != 1.0) total = total / divisor;
    StoreElement(p.out_dtype, RowOf(p.merged, row, head) + d * out_bytes,
                 total * p.inverse_out_scale);
  }
  if (p.merged.lse == 0 || gl_LocalInvocationIndex != 0) return;
  precise float sum = Weight(a_lse, maximum, kLog2E) + Weight(b_lse, maximum, kLog2E);
  const float lse = sum == 1.0 ? maximum : maximum + log(sum);
  RefFloat(LseOf(p.merged, row, head)).x = has_a || has_b ? lse : kEmpty;
}
