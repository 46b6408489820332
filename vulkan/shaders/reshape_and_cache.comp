#version 460
#extension GL_GOOGLE_include_directive : require
// SPDX-License-Identifier: Apache-2.0
//
// Copies one token's keys and values of all heads to the token's slot; one workgroup a token. Knows
// no element types, only units of 2, 4 or 16 bytes.

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
  uint64_t value_block_stride;
  uint64_t value_token_stride;
  uint64_t cache_value_head_stride;
  int64_t num_slots;
  int64_t block_size;
  uint num_tokens;
  uint num_kv_heads;
  uint units_per_head;
  uint blocks_per_segment;
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

  const uint units = p.num_kv_heads * p.units_per_head;
  for (uint i = gl_LocalInvocationIndex; i < units; i += THREADS) {
    const uint head = Divide(i, p.by_units_per_head);
    const uint64_t within = uint64_t(i - head * p.units_per_head) * UNIT_BYTES;
    CopyUnit(to_key + head * p.cache_key_head_stride + within,
             from_key + head * p.key_head_stride + within);
    CopyUnit(to_value + head * p.cache_value_head_stride + within,
             from_value + head * p.value_head_stride + within);
  }
}
