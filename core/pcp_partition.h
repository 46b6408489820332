// SPDX-License-Identifier: Apache-2.0
//
// PcpPartition: which rank of a prefill-context-parallel group computes which rows of a step
// ("DualChunkSwap": seed document 004; arrays and worked examples in pcp_spec.md, sections 2 to 5).
//
// A prefill of n new tokens is cut into 2W chunks of c = ceil(n / 2W) tokens; rank r owns chunk r
// (head) and chunk 2W-1-r (tail), so that every rank has the same causal work. A decode is
// replicated on every rank. All ranks hold the same number of rows; what is missing is padding.
//
//   ASSIGN_OR_RETURN(PcpPartition partition, PcpPartition::Build(shapes, world_size));
//   for (const PcpRow& row : partition.Rows(rank)) ...
//
// A pure host value, the same on every rank, in closed form: Build is O(requests), each array O(its
// length). Row orders:
//   local      the rows of one rank: requests in batch order, head rows then tail rows; local_total
//   gathered   an all-gather of the local rows: rank * local_total + local row; padded_total
//   padded     request-major: request i owns P_i rows, its tokens first; padded_total
//   global     request-major without padding, the order of the step; num_tokens
#ifndef WEFT_CORE_PCP_PARTITION_H_
#define WEFT_CORE_PCP_PARTITION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/attention_metadata.h"
#include "core/request_batch.h"
#include "core/segment.h"

namespace weft {

// What the partition needs to know of a request.
struct RequestShape {
  RequestKind kind = RequestKind::kPrefill;
  int64_t num_new_tokens = 0;
  int64_t num_computed_tokens = 0;
};

std::vector<RequestShape> ShapesOf(const AttentionMetadata& metadata);

// A padding row is a copy of its request's first new token (seed 004): an id and a position that
// every layer can compute on, and nobody reads the result.
struct PcpRow {
  int32_t request = 0;
  int64_t position = 0;  // absolute
  int64_t source = 0;    // global row
  bool is_padding = false;
};

inline bool operator==(const PcpRow& a, const PcpRow& b) {
  return a.request == b.request && a.position == b.position && a.source == b.source &&
         a.is_padding == b.is_padding;
}

// Capacity that no step may exceed; 0 = no limit.
struct PcpLimits {
  int64_t max_padded_tokens = 0;
};

class PcpPartition {
 public:
  // Kinds are explicit, requests stand in any order, any of them may have no new tokens.
  // INVALID_ARGUMENT: world_size < 1, a negative count (with its request). RESOURCE_EXHAUSTED:
  // padded_total over the limit, both numbers named. OUT_OF_RANGE: a length, the world size or
  // padded_total beyond int32, the type of the device's arrays.
  static absl::StatusOr<PcpPartition> Build(absl::Span<const RequestShape> requests,
                                            int64_t world_size, const PcpLimits& limits = {});

  // The seed's call: arrays and a threshold (reorder_batch_threshold), kinds by ClassifyRequests.
  // Decodes must come first there: INVALID_ARGUMENT names the first decode that stands behind a
  // prefill.
  static absl::StatusOr<PcpPartition> BuildFromArrays(absl::Span<const int64_t> num_new_tokens,
                                                      absl::Span<const int64_t> num_computed_tokens,
                                                      int64_t decode_threshold, int64_t world_size,
                                                      const PcpLimits& limits = {});

  // The capacity that is always enough (pcp_spec.md, 2.1): max_tokens + max_requests * max(2W - 1,
  // threshold * (W - 1)). Arguments as Build takes them; int64 max on overflow.
  static int64_t SafeCapacity(int64_t max_tokens, int64_t max_requests, int64_t decode_threshold,
                              int64_t world_size);

  int64_t world_size() const { return world_size_; }
  int64_t num_requests() const { return static_cast<int64_t>(requests_.size()); }
  absl::Span<const RequestShape> requests() const { return requests_; }
  int64_t num_tokens() const { return num_tokens_; }      // sum of new tokens
  int64_t local_total() const { return local_total_; }    // rows of each rank
  int64_t padded_total() const { return padded_total_; }  // world_size * local_total

  // [R]: rows of each request on every rank.
  std::vector<int64_t> LocalNumScheduled() const;

  // [local_total]: the rows of `rank`, 0 <= rank < world_size.
  std::vector<PcpRow> Rows(int64_t rank) const;

  // The runs of real rows of `rank`, 0 <= rank < world_size; padding rows belong to none. The head
  // and tail chunks of the last rank are adjacent tokens and yet two segments.
  std::vector<Segment> Segments(int64_t rank) const;

  // [padded_total]: padded row -> gathered row. A permutation.
  std::vector<int64_t> RestoreIndex() const;

  // [padded_total]: padded row is a real token (of a decode: rank 0's copy).
  std::vector<bool> UnpadMask() const;

  // [num_tokens]: global token -> gathered row. RestoreIndex and UnpadMask in one gather, without a
  // host sync.
  std::vector<int64_t> CompactRestoreIndex() const;

  // [padded_total]: padded row -> global row, -1 at padding and at the copies of decodes by ranks >
  // 0: what PadSlots does, as an index for GatherRows.
  std::vector<int64_t> PadIndex() const;

  // Slots in padded order (pcp_spec.md, 4). `slots` has num_tokens entries in global order, -1
  // allowed. INVALID_ARGUMENT if the length differs.
  absl::StatusOr<std::vector<int64_t>> PadSlots(absl::Span<const int64_t> slots) const;

  // The same in gathered order, so that gathered keys and values are written without being restored
  // first.
  absl::StatusOr<std::vector<int64_t>> GatheredSlots(absl::Span<const int64_t> slots) const;

  // Equal on ranks that agree on the step.
  uint64_t fingerprint() const;

  // A picture of ranks x requests, for people.
  std::string ToString() const;

 private:
  PcpPartition() = default;

  // Where a request stands in the orders above.
  struct Place {
    int64_t local_begin = 0;
    int64_t local_rows = 0;  // on each rank; P_i = world_size * local_rows
    int64_t padded_begin = 0;
    int64_t global_begin = 0;
    int64_t chunk = 0;  // tokens of a chunk; 0 for decodes
  };

  // A run of rows of one rank that hold tokens [offset, offset + num_rows) of the padded request,
  // the first num_real of them real.
  struct Chunk {
    int64_t first_row = 0;
    int64_t offset = 0;
    int64_t num_rows = 0;
    int64_t num_real = 0;
  };

  // The chunks of `request` on `rank`, into `chunks`; returns how many: 0, 1 (decode) or 2.
  int Chunks(int64_t request, int64_t rank, Chunk chunks[2]) const;

  int64_t GatheredRow(int64_t request, int64_t padded_offset) const;
  absl::Status CheckSlots(absl::Span<const int64_t> slots) const;
  std::string Cell(int64_t request, int64_t rank) const;

  int64_t world_size_ = 1;
  int64_t num_tokens_ = 0;
  int64_t local_total_ = 0;
  int64_t padded_total_ = 0;
  std::vector<RequestShape> requests_;
  std::vector<Place> places_;
};

}  // namespace weft

#endif  // WEFT_CORE_PCP_PARTITION_H_
