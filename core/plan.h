// SPDX-License-Identifier: Apache-2.0
//
// Plan: the work of one step on one rank, decided on the host once and used by every alike layer. A
// typed, immutable value; Explain() prints it. What a kernel reads of it is the packed arrays
// below.
//
// How a row's result comes not to depend on its neighbours (design.md, semantics 11): rows of
// decodes and rows of prefills take different kernels, chosen by the request's kind alone. A
// prefill row walks its keys in blocks at absolute positions, whatever tile it stands in. A decode
// row's keys are cut into granules of kGranule keys at absolute positions; each granule's state
// (max, sum, O) is computed by one workgroup, and the states are merged left to right.
#ifndef WEFT_CORE_PLAN_H_
#define WEFT_CORE_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/attention_metadata.h"
#include "core/attention_spec.h"
#include "core/pcp_partition.h"

namespace weft {

// Keys of a granule. A fixed number: it is part of a result's bits.
inline constexpr int64_t kGranule = 512;

// The packed arrays, as kernels read them. All indices are checked when the plan is built.

// Up to tile_tokens query rows of one prefill segment. first_block < 0 marks padding rows: output
// 0, LSE -inf.
struct PrefillTile {
  int32_t first_row;       // in the rank's query buffer
  int32_t num_rows;        // tokens
  int32_t first_position;  // absolute position of first_row
  int32_t first_block;     // the request's first entry in Plan::blocks()
};

// One query row of a decode.
struct DecodeRow {
  int32_t row;            // in the rank's query buffer
  int32_t position;       // absolute; the row sees keys [0, position]
  int32_t first_block;    // the request's first entry in Plan::blocks()
  int32_t first_partial;  // granule g writes its state to partial first_partial + g
};

// One granule of one decode row: keys [granule * kGranule, min(position + 1, (granule + 1) *
// kGranule)).
struct DecodeSplit {
  int32_t decode_row;  // index into Plan::decode_rows()
  int32_t granule;
};

static_assert(sizeof(PrefillTile) == 16 && sizeof(DecodeRow) == 16 && sizeof(DecodeSplit) == 8,
              "read by kernels");

// What a backend's kernels want of a plan.
struct PlanConfig {
  int64_t tile_tokens = 16;  // query tokens of a prefill tile
};

class Plan {
 public:
  // `partition` null: the rows are all of the step's tokens in order (no PCP), and `rank` must be
  // 0. Otherwise it must have been built of this metadata's shapes (FAILED_PRECONDITION) and 0 <=
  // rank < world_size (INVALID_ARGUMENT). OUT_OF_RANGE: an index beyond int32. `layer_fingerprint`
  // ties the plan to layers that are alike.
  static absl::StatusOr<Plan> Build(const AttentionSpec& spec, const PlanConfig& config,
                                    uint64_t layer_fingerprint, const AttentionMetadata& metadata,
                                    const PcpPartition* partition, int64_t rank);

  int64_t num_rows() const { return num_rows_; }  // of this rank, padding included
  int64_t world_size() const { return world_size_; }
  int64_t rank() const { return rank_; }
  // Blocks of the cache that the metadata was built for: block ids and slots are below it.
  int64_t num_blocks() const { return num_blocks_; }

  // Slots of the key and value rows that ReshapeAndCache writes: the step's tokens without PCP; the
  // all-gathered rows of all ranks (world_size * num_rows, rank-major) with it. -1: not written.
  absl::Span<const int64_t> slots() const { return slots_; }
  // The used block ids of all requests, one after the other.
  absl::Span<const int32_t> blocks() const { return blocks_; }
  // Longest first, so that the last workgroups to start are short ones.
  absl::Span<const PrefillTile> tiles() const { return tiles_; }
  absl::Span<const DecodeRow> decode_rows() const { return decode_rows_; }
  absl::Span<const DecodeSplit> decode_splits() const { return decode_splits_; }

  // States of granules that the decode kernel writes and the merge reads.
  int64_t num_partials() const { return num_partials_; }
  // Exact bytes of workspace for this plan: for each partial and query head, head_size + 2 floats.
  int64_t workspace_bytes() const { return workspace_bytes_; }

  // Number of (query row, visible key) pairs of this rank, one head: the measure of its causal
  // work.
  int64_t causal_pairs() const { return causal_pairs_; }
  int64_t num_padding_rows() const { return num_padding_rows_; }

  uint64_t layer_fingerprint() const { return layer_fingerprint_; }
  // Of everything above.
  uint64_t fingerprint() const { return fingerprint_; }

  // A few lines for people: rows, tiles, splits, workspace.
  std::string Explain() const;

 private:
  int64_t num_rows_ = 0;
  int64_t world_size_ = 1;
  int64_t rank_ = 0;
  int64_t num_blocks_ = 0;
  std::vector<int64_t> slots_;
  std::vector<int32_t> blocks_;
  std::vector<PrefillTile> tiles_;
  std::vector<DecodeRow> decode_rows_;
  std::vector<DecodeSplit> decode_splits_;
  int64_t num_partials_ = 0;
  int64_t workspace_bytes_ = 0;
  int64_t causal_pairs_ = 0;
  int64_t num_padding_rows_ = 0;
  uint64_t layer_fingerprint_ = 0;
  uint64_t fingerprint_ = 0;
};

// Bytes of workspace for `num_partials` granule states: first [num_partials, num_heads, head_size]
// floats, the weighted sums O; then [num_partials, num_heads, 2] floats, the maximum logit m and
// the sum l = sum exp(logit - m).
absl::StatusOr<int64_t> WorkspaceBytes(int64_t num_partials, int64_t num_heads, int64_t head_size);

}  // namespace weft

#endif  // WEFT_CORE_PLAN_H_
