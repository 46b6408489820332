#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// destination[i] = source[index[i]], rows of bytes; an index outside the source fills the row.
//
// Grid: rows x parts. Workgroup: THREADS lanes, one part of one row, unit by unit. Shared memory:
// none. Bytes: each of the row read once and written once, and 8 of the index for each part.

#include "copy.glsl"

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer GatherRowsParams {
  uint64_t source;
  uint64_t index;
  uint64_t destination;
  uint64_t source_row_stride;  // bytes
  uint64_t destination_row_stride;
  int64_t source_rows;
  uint64_t units_per_row;
  uint64_t units_per_part;
  uint rows;
  uint parts;
  uint unit_bytes;
  uint fill[4];  // 16 bytes of a filled row; of smaller elements all are the same
};

void FillUnit(uint64_t to, uint64_t unit, GatherRowsParams p) {
  if (WHOLE) {
    Ref128(to).x = uvec4(p.fill[0], p.fill[1], p.fill[2], p.fill[3]);
  } else if (p.unit_bytes == 4) {
    Ref32(to).x = p.fill[uint(unit) & 3u];
  } else if (p.unit_bytes == 2) {
    Ref16(to).x = uint16_t(p.fill[0]);
  } else {
    Ref8(to).x = uint8_t(p.fill[0]);
  }
}

void main() {
  GatherRowsParams p = GatherRowsParams(push.params);
  const uint work = WorkgroupIndex();
  const uint row = work / p.parts;
  const uint part = work % p.parts;
  if (row >= p.rows) return;
  const uint unit_bytes = WHOLE ? 16 : p.unit_bytes;
  const int64_t from = Ref64(p.index + row * uint64_t(8)).x;
  const bool inside = from >= 0 && from < p.source_rows;
  const uint64_t to_row = p.destination + row * p.destination_row_stride;
  const uint64_t from_row = p.source + uint64_t(inside ? from : int64_t(0)) * p.source_row_stride;
  const uint64_t begin = part * p.units_per_part;
  const uint64_t end = min(begin + p.units_per_part, p.units_per_row);
  // All units of the part before i, of other lanes too, are taken.
  for (uint64_t i = begin + gl_LocalInvocationIndex; i < end; i += THREADS) {
    const uint64_t to = to_row + i * unit_bytes;
    if (inside) {
      CopyUnit(to, from_row + i * unit_bytes, unit_bytes);
    } else {
      FillUnit(to, i, p);
    }
  }
}
