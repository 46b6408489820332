// SPDX-License-Identifier: Apache-2.0
//
// The argument block of the attention kernels. Host and device read it; no CUDA header.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_PARAMS_H_
#define WEFT_CUDA_KERNELS_ATTENTION_PARAMS_H_

#include <cstdint>
#include <type_traits>

#include "core/divisor.h"
#include "cuda/kernels/element_type.h"

namespace weft::cuda {

// So that the block stays within the classic limit of kernel arguments.
inline constexpr int kMaxAttentionSegments = 220;

struct AttentionSegment {
  uint64_t key;
  uint64_t value;
};

// Keys, or values, in a block of the cache. Strides in bytes.
struct CacheSide {
  int64_t block_stride;
  int64_t token_stride;
  int64_t head_stride;
  int64_t run_stride;
  uint32_t run;  // adjacent dimensions; head_size: all are
  // Every row of every segment lies in whole pieces of 16 bytes, at multiples of 16.
  uint32_t in_pieces;
};

// A strided tensor [rows, heads, ...]; strides in bytes.
struct RowTensor {
  uint64_t address;  // 0: not wanted
  int64_t row_stride;
  int64_t head_stride;
};

// Passed by value. Tables, indices and memory have been checked (Queue::Attention, Plan::Build).
struct AttentionParams {
  RowTensor query;
  RowTensor out;
  RowTensor lse;
  CacheSide key;
  CacheSide value;
  // The arrays of core/plan_tables.h.
  uint64_t tiles;
  uint64_t decode_rows;
  uint64_t decode_splits;
  uint64_t blocks;
  // States of granules: f32 [num_partials, num_heads, head_size], weighted sums of values, and f32
  // [num_partials, num_heads, 2], the largest logit and the sum of weights.
  uint64_t partial_sums;
  uint64_t partial_stats;
  // f32 arrays by head; 0: none.
  uint64_t alibi_slopes;
  uint64_t sinks;
  uint64_t k_scales;
  uint64_t v_scales;

  uint32_t num_work;  // of this launch: tiles, splits or decode rows
  // Decode blocks: the first long_units units of splits have unit_splits of them, the last of these
  // what is left, and the others one.
  uint32_t long_units;
  uint32_t unit_splits;
  uint32_t chunks;  // blocks that share the query rows of one (work, kv head)
  uint32_t num_heads;
  uint32_t num_kv_heads;
  uint32_t group_size;
  uint32_t head_size;
  uint32_t block_size;
  uint32_t num_segments;
  uint32_t blocks_per_segment;
  uint32_t prefill_stages;  // of the ring of tiles
  uint32_t decode_stages;   // of a warp's ring
  Divisor by_group_size;
  Divisor by_block_size;
  Divisor by_blocks_per_segment;
  int32_t window;  // a row at position p sees nothing before p - window + 1
  float scale;
  float softcap;  // 0: none
  float inverse_softcap;
  float inverse_out_scale;
  ElementType query_type;
  ElementType out_type;
  ElementType kv_type;
  uint32_t query_in_pieces;  // as CacheSide::in_pieces
  uint32_t out_in_pieces;    // likewise
  uint32_t out_in_words;     // its rows begin at multiples of 4 bytes
  AttentionSegment segments[kMaxAttentionSegments];
};
static_assert(std::is_trivially_copyable_v<AttentionParams>);
static_assert(sizeof(AttentionParams) <= 4096, "the classic limit of kernel arguments");

// What a call of Queue::Attention launches.
struct AttentionWork {
  AttentionParams params;  // but for what depends on the kernels and the device
  int64_t splits = 0;
  bool padded = false;  // not all of them need be there when the kernels run
  int64_t tiles = 0;
  int64_t decode_rows = 0;
  int64_t tile_rows = 0;  // query rows of a full tile: its tokens times the group's heads
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_PARAMS_H_
