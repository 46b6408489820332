#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// destination = source / (scale * head scale), as fp8.
//
// Grid: rows. Workgroup: THREADS lanes, one row, 4 elements a lane at a time. Shared memory: none.
// Bytes: each element read once, its byte written once.

#include "quantize.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 64;

// Strides in bytes.
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer QuantizeFp8Params {
  uint64_t source;
  uint64_t destination;
  uint64_t head_scales;  // 0: 1
  uint64_t source_row_stride;
  uint64_t source_head_stride;
  uint64_t destination_row_stride;
  uint64_t destination_head_stride;
  uint rows;
  uint heads;
  uint head_size;
  uint quads_per_head;
  Divisor by_quads_per_head;
  uint source_dtype;
  uint destination_dtype;
  uint whole;  // 1: all quads are 4 elements, and stored as a word
  float scale;
};

void main() {
  QuantizeFp8Params p = QuantizeFp8Params(push.params);
  const uint row = WorkgroupIndex();
  if (row >= p.rows) return;
  const uint quads = p.heads * p.quads_per_head;
  // All quads before i, of other lanes too, are taken.
  for (uint i = gl_LocalInvocationIndex; i < quads; i += THREADS) {
    const uint head = Divide(i, p.by_quads_per_head);
    const uint dim = (i - head * p.quads_per_head) * 4;
    const uint count = min(4u, p.head_size - dim);
    precise float scale = p.scale * LoadOptional(p.head_scales, head, 1.0);
    const uint64_t from = p.source + row * p.source_row_stride + head * p.source_head_stride +
                          dim * ElementBytes(p.source_dtype);
    const uint64_t to =
        p.destination + row * p.destination_row_stride + head * p.destination_head_stride + dim;
    const uint codes =
        QuantizeQuad(p.source_dtype, from, count, p.destination_dtype, MakeScale(scale));
    if (p.whole != 0) {
      Ref32(to).x = codes;
    } else {
      [[dont_unroll]] for (uint d = 0; d < count; ++d) Ref8(to + d).x = uint8_t(codes >> (8 * d));
    }
  }
}
