// SPDX-License-Identifier: Apache-2.0
//
// The parameter block of the three attention kernels: AttentionParams of vulkan/ops/params.h.
#ifndef WEFT_VULKAN_SHADERS_ATTENTION_PARAMS_GLSL_
#define WEFT_VULKAN_SHADERS_ATTENTION_PARAMS_GLSL_

#include "common.glsl"

const uint kQueryAligned = 1u;   // query rows can be read in whole pieces
const uint kOutAligned = 2u;     // output rows can be written in whole pieces
const uint kKeysAligned = 4u;    // keys can be read in whole pieces
const uint kValuesAligned = 8u;  // values can

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
  uint64_t alibi_slopes;  // [num_heads]; 0: none
  uint64_t sinks;         // [num_heads]; 0: none, or not to be applied
  uint64_t k_scales;      // [num_kv_heads]; 0: 1
  uint64_t v_scales;
  uint64_t query_row_stride;
  uint64_t query_head_stride;
  uint64_t out_row_stride;
  uint64_t out_head_stride;
  uint64_t lse_row_stride;
  uint64_t lse_head_stride;
  uint64_t key_block_stride;
  uint64_t key_token_stride;
  uint64_t key_head_stride;
  uint64_t key_run_stride;
  uint64_t value_block_stride;
  uint64_t value_token_stride;
  uint64_t value_head_stride;
  uint64_t value_run_stride;
  uint num_work;  // tiles, splits or decode rows
  uint chunks;    // workgroups that share the query heads, or rows, of one (work, kv head)
  uint num_heads;
  uint num_kv_heads;
  uint group_size;
  uint head_size;
  uint block_size;
  uint blocks_per_segment;
  uint key_run;  // adjacent dimensions
  uint value_run;
  Divisor by_group_size;
  Divisor by_block_size;
  Divisor by_blocks_per_segment;
  Divisor by_key_run;
  Divisor by_value_run;
  float scale;            // of the logits, with Float8Unit of the keys
  float softcap;          // 0: none
  float inverse_softcap;
  float value_unit;       // Float8Unit of the values
  float inverse_out_scale;
  uint query_dtype;
  uint out_dtype;
  uint kv_dtype;
  int window;  // a row at position p sees nothing before p - window + 1
  uint flags;
  KvSegment segments[];
};

#endif  // WEFT_VULKAN_SHADERS_ATTENTION_PARAMS_GLSL_
