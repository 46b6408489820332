#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// One rank's output times its share in the softmax of all ranks (core/queue.h, CorrectAttnOutArgs).
//
// Grid: rows x heads. Workgroup: THREADS lanes, one (row, head), dimension by dimension; each lane
// adds up the ranks by itself, from the same addresses. Shared memory: none. Bytes: out read once,
// corrected written once, 8 of log-sum-exps for each rank. Out may be corrected: an element is read
// before it is written.

#include "states.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 64;

// Strides in bytes.
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer CorrectAttnOutParams {
  uint64_t source;
  uint64_t source_row_stride;
  uint64_t source_head_stride;
  uint64_t source_dim_stride;
  uint64_t corrected;
  uint64_t corrected_row_stride;
  uint64_t corrected_head_stride;
  uint64_t corrected_dim_stride;
  uint64_t lses;
  uint64_t lses_rank_stride;
  uint64_t lses_row_stride;
  uint64_t lses_head_stride;
  uint64_t lse;  // 0: not wanted
  uint64_t lse_row_stride;
  uint64_t lse_head_stride;
  uint64_t sinks;  // 0: none
  uint rows;
  uint heads;
  uint head_size;
  uint ranks;
  uint rank;
  uint dtype;
  uint base2;  // 1: of lses and lse
};

// NaN and infinities stand for an empty shard.
float LseOfRank(CorrectAttnOutParams p, uint row, uint head, uint rank) {
  const float lse = RefFloat(p.lses + rank * p.lses_rank_stride + row * p.lses_row_stride +
                             head * p.lses_head_stride)
                        .x;
  return IsFinite(lse) ? lse : kEmpty;
}

void main() {
  CorrectAttnOutParams p = CorrectAttnOutParams(push.params);
  const uint work = WorkgroupIndex();
  const uint row = work / p.heads;
  const uint head = work % p.heads;
  if (row >= p.rows) return;
  const float unit = p.base2 != 0 ? 1.0 : kLog2E;
  float maximum = kEmpty;
  for (uint r = 0; r < p.ranks; ++r) maximum = max(maximum, LseOfRank(p, row, head, r));
  // The sum of the ranks before r, relative to the largest.
  precise float total = 0.0;
  for (uint r = 0; r < p.ranks; ++r) {
    total = total + Weight(LseOfRank(p, row, head, r), maximum, unit);
  }
  const float own = LseOfRank(p, row, head, p.rank);
  const float natural = LoadOptional(p.sinks, head, kEmpty);
  const float sink = p.base2 != 0 ? natural * kLog2E : natural;
  const float largest = max(maximum, sink);
  precise float divisor =
      fma(total, Weight(maximum, largest, unit), Weight(sink, largest, unit));
  const float factor = own == kEmpty ? 0.0 : Weight(own, largest, unit) / divisor;

  const uint64_t from = p.source + row * p.source_row_stride + head * p.source_head_stride;
  const uint64_t to = p.corrected + row * p.corrected_row_stride + head * p.corrected_head_stride;
  // All dimensions before d, of other lanes too, are taken.
  for (uint d = gl_LocalInvocationIndex; d < p.head_size; d += THREADS) {
    const float value = LoadElement(p.dtype, from + d * p.source_dim_stride);
    StoreElement(p.dtype, to + d * p.corrected_dim_stride, factor == 0.0 ? 0.0 : value * factor);
  }
  if (p.lse == 0 || gl_LocalInvocationIndex != 0) return;
  const float logarithm = p.base2 != 0 ? log2(total) : log(total);
  const float lse = total == 1.0 ? maximum : maximum + logarithm;
  RefFloat(p.lse + row * p.lse_row_stride + head * p.lse_head_stride).x =
      maximum == kEmpty ? kEmpty : lse;
}
