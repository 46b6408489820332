// SPDX-License-Identifier: Apache-2.0
//
// AttentionMetadata: the arrays of one step, as the seeds name them (seed document 002,
// TritonAttentionMetadata), and AttentionMetadataBuilder, the one place where a batch is validated.
// Whatever Build accepts, no kernel can be led out of the cache by it.
//
//   AttentionMetadataBuilder builder(layout, num_blocks);
//   ASSIGN_OR_RETURN(AttentionMetadata metadata, builder.Build(batch));
#ifndef WEFT_CORE_ATTENTION_METADATA_H_
#define WEFT_CORE_ATTENTION_METADATA_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dcp_shard.h"
#include "core/kv_cache.h"
#include "core/request_batch.h"
#include "core/segment.h"

namespace weft {

// Immutable. R requests; tokens are request-major.
class AttentionMetadata {
 public:
  int64_t num_requests() const { return static_cast<int64_t>(seq_lens_.size()); }
  int64_t num_actual_tokens() const { return query_start_loc_.back(); }
  int64_t max_query_len() const { return max_query_len_; }
  int64_t max_seq_len() const { return max_seq_len_; }

  // [R + 1]: request i has rows [query_start_loc[i], query_start_loc[i + 1]).
  absl::Span<const int32_t> query_start_loc() const { return query_start_loc_; }
  // [R]: computed + new tokens.
  absl::Span<const int32_t> seq_lens() const { return seq_lens_; }
  // [R]: computed tokens; the position of a request's first row.
  absl::Span<const int32_t> context_lens() const { return context_lens_; }
  absl::Span<const RequestKind> kinds() const { return kinds_; }

  // [R, block_table_width], row-major; entries past a request's used blocks are -1.
  absl::Span<const int32_t> block_table() const { return block_table_; }
  int64_t block_table_width() const { return block_table_width_; }
  // The used entries of request i: ceil(seq_len / tokens_per_block()) of them.
  absl::Span<const int32_t> blocks(int64_t request) const;
  // Tokens of a sequence that a block-table column stands for: block_size, times the DCP world.
  int64_t tokens_per_block() const { return layout_.block_size() * dcp_.world; }

  // [num_actual_tokens]: block_id * block_size + offset for each new token; -1 if another DCP rank
  // holds it.
  absl::Span<const int64_t> slot_mapping() const { return slot_mapping_; }

  // Shared prefix (seed 002): filled when common_prefix_len > 0, empty otherwise. Cascade attention
  // itself is UNIMPLEMENTED in Forward.
  int64_t common_prefix_len() const { return common_prefix_len_; }
  absl::Span<const int32_t> cu_prefix_query_lens() const {
    return cu_prefix_query_lens_;
  }                                                                             // [2]: 0, tokens
  absl::Span<const int32_t> prefix_kv_lens() const { return prefix_kv_lens_; }  // [1]
  absl::Span<const int32_t> suffix_kv_lens() const { return suffix_kv_lens_; }  // [R]

  // One segment for each request that has new tokens, in batch order: the rows of a step without
  // PCP.
  std::vector<Segment> Segments() const;

  // MetadataOptions::dcp and ::window.
  const DcpShard& dcp() const { return dcp_; }
  int64_t window() const { return window_; }

  const KvCacheLayout& layout() const { return layout_; }
  int64_t num_blocks() const { return num_blocks_; }

 private:
  friend class AttentionMetadataBuilder;

  KvCacheLayout layout_;
  int64_t num_blocks_ = 0;
  DcpShard dcp_;
  int64_t window_ = 0;
  int64_t max_query_len_ = 0;
  int64_t max_seq_len_ = 0;
  std::vector<int32_t> query_start_loc_ = {0};
  std::vector<int32_t> seq_lens_;
  std::vector<int32_t> context_lens_;
  std::vector<RequestKind> kinds_;
  std::vector<int32_t> block_table_;
  int64_t block_table_width_ = 0;
  std::vector<int64_t> slot_mapping_;
  int64_t common_prefix_len_ = 0;
  std::vector<int32_t> cu_prefix_query_lens_;
  std::vector<int32_t> prefix_kv_lens_;
  std::vector<int32_t> suffix_kv_lens_;
};

struct MetadataOptions {
  // Tokens at the start of every request that all of them share; 0 = none.
  int64_t common_prefix_len = 0;
  // The cache holds this rank's share of each sequence (docs/pcp_spec.md, 11).
  DcpShard dcp;
  // All layers that use the metadata have a window of at most so many tokens (0: some have none).
  // Table entries of blocks that lie before every window may then hold anything: their blocks have
  // been freed. They are not read.
  int64_t window = 0;
  // Skips the check that no block is written by two requests. Never skips a check that prevents an
  // access.
  bool fast = false;
};

class AttentionMetadataBuilder {
 public:
  // For a cache of `num_blocks` blocks. Thread-safe: Build changes nothing here.
  AttentionMetadataBuilder(const KvCacheLayout& layout, int64_t num_blocks);

  // Pure host work, O(tokens + blocks). An empty batch and requests without new tokens are fine.
  // INVALID_ARGUMENT: a negative count; fewer blocks than the request's length needs; a common
  // prefix longer than a request's computed tokens; a DCP shard that DcpShard::Validate refuses.
  // OUT_OF_RANGE: a block id in the used range outside [0, num_blocks); lengths or totals beyond
  // int32. FAILED_PRECONDITION: two places of the batch would write one block (a lost write).
  // Messages name request, column, value and bound.
  absl::StatusOr<AttentionMetadata> Build(const RequestBatch& batch,
                                          const MetadataOptions& options = {}) const;

  // The shapes of a step to capture: `num_requests` requests of `query_len` new tokens and no
  // context, so that seq_len = query_len (the seed sets 1). Every request uses block ids 0, 1, ...:
  // for capture only, not for writing. INVALID_ARGUMENT: num_requests < 0 or query_len < 1.
  // OUT_OF_RANGE: more tokens than int32 counts, a request longer than the cache.
  absl::StatusOr<AttentionMetadata> BuildForGraphCapture(int64_t num_requests,
                                                         int64_t query_len) const;

 private:
  KvCacheLayout layout_;
  int64_t num_blocks_;
};

}  // namespace weft

#endif  // WEFT_CORE_ATTENTION_METADATA_H_
