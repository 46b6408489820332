#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// Copies one token's keys and values of all heads to the token's slot. Knows no element types, only
// units of bytes, and runs of adjacent ones in the cache.
//
// Grid: tokens. Workgroup: THREADS lanes, one token, unit by unit. Shared memory: none. Bytes: each
// of key and value read once and written once.

#include "copy.glsl"

struct KvSegment {
  uint64_t key;
  uint64_t value;
};

// Strides in bytes.
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer ReshapeAndCacheParams {
  uint64_t key;
  uint64_t value;
  uint64_t slots;
  uint64_t key_row_stride;
  uint64_t key_head_stride;
  uint64_t value_row_stride;
  uint64_t value_head_stride;
  uint64_t key_block_stride;
  uint64_t key_token_stride;
  uint64_t cache_key_head_stride;
  uint64_t key_run_stride;
  uint64_t value_block_stride;
  uint64_t value_token_stride;
  uint64_t cache_value_head_stride;
  uint64_t value_run_stride;
  int64_t num_slots;
  int64_t block_size;
  uint num_tokens;
  uint num_kv_heads;
  uint units_per_head;
  uint blocks_per_segment;
  uint key_run_units;  // adjacent units of a head
  uint value_run_units;
  uint unit_bytes;
  Divisor by_key_run_units;
  Divisor by_value_run_units;
  Divisor by_units_per_head;
  Divisor by_blocks_per_segment;
  KvSegment segments[];
};

void main() {
  ReshapeAndCacheParams p = ReshapeAndCacheParams(push.params);
  const uint token = WorkgroupIndex();
  if (token >= p.num_tokens) return;
  const int64_t slot = Ref64(p.slots + token * uint64_t(8)).x;
  if (slot < 0 || slot >= p.num_slots) return;  // -1, or a slot that is not there

  const uint block = uint(slot / p.block_size);
  const uint64_t offset = uint64_t(slot - int64_t(block) * p.block_size);
  const uint segment = Divide(block, p.by_blocks_per_segment);
  const uint local = block - segment * p.blocks_per_segment;
  const uint64_t to_key =
      p.segments[segment].key + local * p.key_block_stride + offset * p.key_token_stride;
  const uint64_t to_value =
      p.segments[segment].value + local * p.value_block_stride + offset * p.value_token_stride;
  const uint64_t from_key = p.key + token * p.key_row_stride;
  const uint64_t from_value = p.value + token * p.value_row_stride;

  const uint unit_bytes = WHOLE ? 16 : p.unit_bytes;
  const uint units = p.num_kv_heads * p.units_per_head;
  // All units before i, of other lanes too, are taken.
  for (uint i = gl_LocalInvocationIndex; i < units; i += THREADS) {
    const uint head = Divide(i, p.by_units_per_head);
    const uint unit = i - head * p.units_per_head;
    const uint key_run = Divide(unit, p.by_key_run_units);
    const uint value_run = Divide(unit, p.by_value_run_units);
    CopyUnit(to_key + head * p.cache_key_head_stride + key_run * p.key_run_stride +
                 uint64_t(unit - key_run * p.key_run_units) * unit_bytes,
             from_key + head * p.key_head_stride + uint64_t(unit) * unit_bytes, unit_bytes);
    CopyUnit(to_value + head * p.cache_value_head_stride + value_run * p.value_run_stride +
                 uint64_t(unit - value_run * p.value_run_units) * unit_bytes,
             from_value + head * p.value_head_stride + uint64_t(unit) * unit_bytes, unit_bytes);
  }
}
