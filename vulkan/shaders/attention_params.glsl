// SPDX-License-Identifier: Apache-2.0
//
// The parameter block of the three attention kernels: AttentionParams of vulkan/ops/params.h.
#ifndef WEFT_VULKAN_SHADERS_ATTENTION_PARAMS_GLSL_
#define WEFT_VULKAN_SHADERS_ATTENTION_PARAMS_GLSL_

#include "common.glsl"

const uint kQueryAligned = 1u;      // query rows can be read 16 bytes at a time
const uint kOutAligned = 2u;        // output rows can be written 16 bytes at a time

struct KvSegment {
  uint64_t key;
  uint64_t value;
};

// Strides in bytes.
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer AttentionParams {
  uint64_t query;
  uint64_t out_rows;
  uint64_t lse;            // 0: not wanted
  uint64_t partial_sums;   // O of the granule states
  uint64_t partial_stats;  // their m and l
  uint64_t tiles;
  uint64_t decode_rows;
  uint64_t decode_splits;
  uint64_t blocks;
  uint64_t query_row_stride;
  uint64_t query_head_stride;
  uint64_t out_row_stride;
  uint64_t out_head_stride;
  uint64_t lse_row_stride;
  uint64_t lse_head_stride;
  uint64_t key_block_stride;
  uint64_t key_token_stride;
  uint64_t key_head_stride;
  uint64_t value_block_stride;
  uint64_t value_token_stride;
  uint64_t value_head_stride;
  uint num_work;  // tiles, splits or decode rows
  uint chunks;    // workgroups that share the query heads, or rows, of one (work, kv head)
  uint num_heads;
  uint num_kv_heads;
  uint group_size;
  uint head_size;
  uint block_size;
  uint blocks_per_segment;
  Divisor by_group_size;
  Divisor by_block_size;
  Divisor by_blocks_per_segment;
  float scale;
  uint flags;
  KvSegment segments[];
};

#endif  // WEFT_VULKAN_SHADERS_ATTENTION_PARAMS_GLSL_
