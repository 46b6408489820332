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
// (max, sum, O) is computed by one workgroup, and the states are merged left to right. (Of a
// window, only granules that it reaches are computed: the others are states that see nothing.)
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
#include "core/plan_tables.h"

namespace weft {

// Which keys a plan attends to.
enum class KeyScope : uint8_t {
  kAll,      // computed and new tokens, all through the cache
  kContext,  // computed tokens only; rows of requests without any give 0 and -inf
  kNew,      // new tokens only, read from plain tensors: a cache of layout KvCacheLayout::Rows over
             // the rows that ReshapeAndCache takes (with PCP those gathered from all ranks)
};

// Which rows a plan names; the others are untouched.
enum class RowScope : uint8_t { kAll, kDecodes, kPrefills };

struct PlanOptions {
  // Null: the rows are all of the step's tokens in order (no PCP), and `rank` must be 0.
  const PcpPartition* partition = nullptr;
  int64_t rank = 0;
  KeyScope keys = KeyScope::kAll;
  RowScope rows = RowScope::kAll;
};

// What a backend's kernels want of a plan.
struct PlanConfig {
  int64_t tile_tokens = 16;   // query tokens of a prefill tile
  int64_t tiles_at_once = 0;  // that the device works at; 0: not known (tile_order.h)
};

class Plan {
 public:
  // FAILED_PRECONDITION: a partition that was not built of this metadata's shapes; metadata whose
  // window is smaller than the layer's. INVALID_ARGUMENT: not 0 <= rank < world_size. OUT_OF_RANGE:
  // an index beyond int32. UNIMPLEMENTED: a common prefix; a window or ALiBi under DCP.
  // `layer_fingerprint` ties the plan to layers that are alike.
  static absl::StatusOr<Plan> Build(const AttentionSpec& spec, const PlanConfig& config,
                                    uint64_t layer_fingerprint, const AttentionMetadata& metadata,
                                    const PlanOptions& options = {});

  int64_t num_rows() const { return num_rows_; }  // of this rank, padding included
  int64_t world_size() const { return world_size_; }
  int64_t rank() const { return rank_; }
  // Blocks of the cache that the plan reads: block ids (and slots) are below it. With
  // KeyScope::kNew the rows of the key tensor.
  int64_t num_blocks() const { return num_blocks_; }
  KeyScope key_scope() const { return key_scope_; }
  // The rows' results are states to be merged: with other keys, or with those of other DCP ranks.
  // Sinks are left to the merge.
  bool partial() const { return partial_; }

  // Slots of the key and value rows that ReshapeAndCache writes: the step's tokens without PCP; the
  // all-gathered rows of all ranks (world_size * num_rows, rank-major) with it. -1: not written.
  // None with KeyScope::kNew.
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

  // Number of (query row, visible key) pairs of this plan, one head: the measure of its work.
  int64_t causal_pairs() const { return causal_pairs_; }
  int64_t num_padding_rows() const { return num_padding_rows_; }

  uint64_t layer_fingerprint() const { return layer_fingerprint_; }
  // Of everything above.
  uint64_t fingerprint() const { return fingerprint_; }

  // A few lines for people: rows, tiles, splits, workspace.
  std::string Explain() const;

 private:
  struct Builder;
  uint64_t ComputeFingerprint() const;

  int64_t num_rows_ = 0;
  int64_t world_size_ = 1;
  int64_t rank_ = 0;
  int64_t num_blocks_ = 0;
  KeyScope key_scope_ = KeyScope::kAll;
  bool partial_ = false;
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
