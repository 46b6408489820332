// SPDX-License-Identifier: Apache-2.0
//
// The parameter blocks of the kernels, as the shaders read them (vulkan/shaders/*_params.glsl,
// scalar layout). params_test.cc holds the offsets against those in the compiled modules.
#ifndef WEFT_VULKAN_OPS_PARAMS_H_
#define WEFT_VULKAN_OPS_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "core/divisor.h"

namespace weft::vulkan {

struct KvSegmentParams {
  uint64_t key = 0;
  uint64_t value = 0;
};

// So that the block fits in kMaxParameterBytes.
inline constexpr int kMaxSegments = 230;

inline constexpr uint32_t kQueryAligned = 1;
inline constexpr uint32_t kOutAligned = 2;
inline constexpr uint32_t kKeysAligned = 4;
inline constexpr uint32_t kValuesAligned = 8;

// Strides in bytes. Only the segments in use are handed over.
struct AttentionParams {
  uint64_t query = 0;
  uint64_t out_rows = 0;
  uint64_t lse = 0;            // 0: not wanted
  uint64_t partial_sums = 0;   // O of the granule states
  uint64_t partial_stats = 0;  // their m and l
  uint64_t tiles = 0;
  uint64_t decode_rows = 0;
  uint64_t decode_splits = 0;
  uint64_t blocks = 0;
  uint64_t alibi_slopes = 0;  // 0: none
  uint64_t sinks = 0;         // 0: none, or not to be applied
  uint64_t k_scales = 0;      // 0: 1
  uint64_t v_scales = 0;
  uint64_t query_row_stride = 0;
  uint64_t query_head_stride = 0;
  uint64_t out_row_stride = 0;
  uint64_t out_head_stride = 0;
  uint64_t lse_row_stride = 0;
  uint64_t lse_head_stride = 0;
  uint64_t key_block_stride = 0;
  uint64_t key_token_stride = 0;
  uint64_t key_head_stride = 0;
  uint64_t key_run_stride = 0;  // below 2^32, as a whole head is
  uint64_t value_block_stride = 0;
  uint64_t value_token_stride = 0;
  uint64_t value_head_stride = 0;
  uint64_t value_run_stride = 0;
  uint32_t num_work = 0;  // tiles, splits or decode rows
  uint32_t chunks = 1;    // workgroups that share the query heads, or rows, of one (work, kv head)
  uint32_t num_heads = 0;
  uint32_t num_kv_heads = 0;
  uint32_t group_size = 0;
  uint32_t head_size = 0;
  uint32_t block_size = 0;
  uint32_t blocks_per_segment = 0;
  uint32_t key_run = 0;  // adjacent dimensions
  uint32_t value_run = 0;
  Divisor by_group_size;
  Divisor by_block_size;
  Divisor by_blocks_per_segment;
  Divisor by_key_run;
  Divisor by_value_run;
  float scale = 0.0f;    // of the logits, with Float8Unit of the keys
  float softcap = 0.0f;  // 0: none
  float inverse_softcap = 0.0f;
  float value_unit = 1.0f;  // Float8Unit of the values
  float inverse_out_scale = 1.0f;
  uint32_t query_dtype = 0;  // ShaderDType
  uint32_t out_dtype = 0;
  uint32_t kv_dtype = 0;
  int32_t window = 0;  // a row at position p sees nothing before p - window + 1
  uint32_t flags = 0;
  KvSegmentParams segments[kMaxSegments];
};
static_assert(offsetof(AttentionParams, num_work) == 216);
static_assert(offsetof(AttentionParams, by_group_size) == 256);
static_assert(offsetof(AttentionParams, scale) == 296);
static_assert(offsetof(AttentionParams, segments) == 336);
static_assert(sizeof(AttentionParams) <= 4096, "kMaxParameterBytes");

// Copies rows of keys and values into the cache. Strides in bytes.
struct ReshapeAndCacheParams {
  uint64_t key = 0;
  uint64_t value = 0;
  uint64_t slots = 0;
  uint64_t key_row_stride = 0;
  uint64_t key_head_stride = 0;
  uint64_t value_row_stride = 0;
  uint64_t value_head_stride = 0;
  uint64_t key_block_stride = 0;
  uint64_t key_token_stride = 0;
  uint64_t cache_key_head_stride = 0;
  uint64_t key_run_stride = 0;
  uint64_t value_block_stride = 0;
  uint64_t value_token_stride = 0;
  uint64_t cache_value_head_stride = 0;
  uint64_t value_run_stride = 0;
  int64_t num_slots = 0;
  int64_t block_size = 0;
  uint32_t num_tokens = 0;
  uint32_t num_kv_heads = 0;
  uint32_t units_per_head = 0;  // of 1, 2, 4 or 16 bytes
  uint32_t blocks_per_segment = 0;
  uint32_t key_run_units = 0;  // adjacent units of a head
  uint32_t value_run_units = 0;
  uint32_t unit_bytes = 0;
  Divisor by_key_run_units;
  Divisor by_value_run_units;
  Divisor by_units_per_head;
  Divisor by_blocks_per_segment;
  KvSegmentParams segments[kMaxSegments];
};
static_assert(offsetof(ReshapeAndCacheParams, num_tokens) == 136);
static_assert(offsetof(ReshapeAndCacheParams, segments) == 200);
static_assert(sizeof(ReshapeAndCacheParams) <= 4096, "kMaxParameterBytes");

// The same into an fp8 cache.
struct QuantizedRowParams {
  uint64_t address = 0;
  uint64_t row = 0;
  uint64_t head = 0;
  uint64_t scales = 0;  // of the KV heads; 0: 1
};

struct QuantizedCacheParams {
  uint64_t block = 0;
  uint64_t token = 0;
  uint64_t head = 0;
  uint64_t run = 0;
  uint32_t run_dims = 0;  // adjacent dimensions
  uint32_t whole = 0;     // 1: all quads are 4 adjacent dimensions, and stored as a word
  Divisor by_run_dims;
};

struct QuantizeToCacheParams {
  QuantizedRowParams key;
  QuantizedRowParams value;
  QuantizedCacheParams key_cache;
  QuantizedCacheParams value_cache;
  uint64_t slots = 0;
  int64_t num_slots = 0;
  int64_t block_size = 0;
  uint32_t num_tokens = 0;
  uint32_t num_kv_heads = 0;
  uint32_t head_size = 0;
  uint32_t quads_per_head = 0;
  uint32_t blocks_per_segment = 0;
  uint32_t source_dtype = 0;  // ShaderDType
  uint32_t cache_dtype = 0;
  uint32_t reserved = 0;
  Divisor by_quads_per_head;
  Divisor by_blocks_per_segment;
  KvSegmentParams segments[kMaxSegments];
};
static_assert(sizeof(QuantizedRowParams) == 32 && sizeof(QuantizedCacheParams) == 48);
static_assert(offsetof(QuantizeToCacheParams, segments) == 232);
static_assert(sizeof(QuantizeToCacheParams) <= 4096, "kMaxParameterBytes");

struct GatherRowsParams {
  uint64_t source = 0;
  uint64_t index = 0;
  uint64_t destination = 0;
  uint64_t source_row_stride = 0;
  uint64_t destination_row_stride = 0;
  int64_t source_rows = 0;
  uint64_t units_per_row = 0;   // of 1, 2, 4 or 16 bytes
  uint64_t units_per_part = 0;  // a workgroup copies one part of one row
  uint32_t rows = 0;
  uint32_t parts = 0;
  uint32_t unit_bytes = 0;
  uint32_t fill[4] = {};  // 16 bytes of rows that have no source
};
static_assert(offsetof(GatherRowsParams, rows) == 64);
static_assert(offsetof(GatherRowsParams, fill) == 76);

// Strides in bytes.
struct QuantizeFp8Params {
  uint64_t source = 0;
  uint64_t destination = 0;
  uint64_t head_scales = 0;  // 0: 1
  uint64_t source_row_stride = 0;
  uint64_t source_head_stride = 0;
  uint64_t destination_row_stride = 0;
  uint64_t destination_head_stride = 0;
  uint32_t rows = 0;
  uint32_t heads = 0;
  uint32_t head_size = 0;
  uint32_t quads_per_head = 0;
  Divisor by_quads_per_head;
  uint32_t source_dtype = 0;  // ShaderDType
  uint32_t destination_dtype = 0;
  uint32_t whole = 0;  // 1: all quads are 4 elements, and stored as a word
  float scale = 1.0f;
};
static_assert(sizeof(QuantizeFp8Params) == 96);

struct StateParams {
  uint64_t rows = 0;
  uint64_t row_stride = 0;
  uint64_t head_stride = 0;
  uint64_t lse = 0;
  uint64_t lse_row_stride = 0;
  uint64_t lse_head_stride = 0;
};

struct MergeStatesParams {
  StateParams a;
  StateParams b;
  StateParams merged;  // lse 0: not wanted
  uint64_t sinks = 0;  // 0: none
  uint32_t rows = 0;
  uint32_t heads = 0;
  uint32_t head_size = 0;
  uint32_t dtype = 0;  // of a and b
  uint32_t out_dtype = 0;
  float inverse_out_scale = 1.0f;
};
static_assert(offsetof(MergeStatesParams, rows) == 152);

struct CorrectAttnOutParams {
  uint64_t source = 0;
  uint64_t source_row_stride = 0;
  uint64_t source_head_stride = 0;
  uint64_t source_dim_stride = 0;
  uint64_t corrected = 0;
  uint64_t corrected_row_stride = 0;
  uint64_t corrected_head_stride = 0;
  uint64_t corrected_dim_stride = 0;
  uint64_t lses = 0;
  uint64_t lses_rank_stride = 0;
  uint64_t lses_row_stride = 0;
  uint64_t lses_head_stride = 0;
  uint64_t lse = 0;  // 0: not wanted
  uint64_t lse_row_stride = 0;
  uint64_t lse_head_stride = 0;
  uint64_t sinks = 0;  // 0: none
  uint32_t rows = 0;
  uint32_t heads = 0;
  uint32_t head_size = 0;
  uint32_t ranks = 0;
  uint32_t rank = 0;
  uint32_t dtype = 0;
  uint32_t base2 = 0;
};
static_assert(offsetof(CorrectAttnOutParams, rows) == 128);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_PARAMS_H_
