// SPDX-License-Identifier: Apache-2.0
#include "core/plan.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/fingerprint.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

absl::Status CheckPartition(const AttentionMetadata& metadata, const PcpPartition* partition,
                            int64_t rank) {
  const int64_t world = partition == nullptr ? 1 : partition->world_size();
  if (rank < 0 || rank >= world) {
    return absl::InvalidArgumentError(absl::StrCat("plan: rank ", rank, " of a group of ", world));
  }
  if (partition == nullptr) return absl::OkStatus();
  if (partition->num_requests() != metadata.num_requests()) {
    return absl::FailedPreconditionError(
        absl::StrCat("plan: the partition has ", partition->num_requests(),
                     " requests, the metadata ", metadata.num_requests()));
  }
  for (int64_t i = 0; i < metadata.num_requests(); ++i) {
    const RequestShape& shape = partition->requests()[i];
    const int64_t new_tokens = metadata.query_start_loc()[i + 1] - metadata.query_start_loc()[i];
    if (shape.num_new_tokens != new_tokens ||
        shape.num_computed_tokens != metadata.context_lens()[i] ||
        shape.kind != metadata.kinds()[i]) {
      return absl::FailedPreconditionError(absl::StrCat(
          "plan: request ", i, " has ", new_tokens, " new and ", metadata.context_lens()[i],
          " computed tokens (", Name(metadata.kinds()[i]), "), the partition was built for ",
          shape.num_new_tokens, " and ", shape.num_computed_tokens, " (", Name(shape.kind), ")"));
    }
  }
  return absl::OkStatus();
}

// Keys that the rows of a segment see, summed.
int64_t CausalPairs(const Segment& segment) {
  return segment.num_rows * segment.first_position + segment.num_rows * (segment.num_rows + 1) / 2;
}

// The rows of [0, num_rows) that no segment names, as runs.
std::vector<std::pair<int64_t, int64_t>> PaddingRuns(const std::vector<Segment>& segments,
                                                     int64_t num_rows) {
  std::vector<std::pair<int64_t, int64_t>> taken;
  for (const Segment& segment : segments)
    taken.emplace_back(segment.first_row, segment.first_row + segment.num_rows);
  taken.emplace_back(num_rows, num_rows);
  std::sort(taken.begin(), taken.end());
  std::vector<std::pair<int64_t, int64_t>> runs;
  int64_t row = 0;
  for (const auto& [begin, end] : taken) {
    if (begin > row) runs.emplace_back(row, begin);
    row = end;
  }
  return runs;
}

}  // namespace

absl::StatusOr<int64_t> WorkspaceBytes(int64_t num_partials, int64_t num_heads, int64_t head_size) {
  const std::optional<int64_t> floats = CheckedAdd(head_size, 2);
  const std::optional<int64_t> per_partial = floats ? CheckedMul(num_heads, *floats) : std::nullopt;
  const std::optional<int64_t> total =
      per_partial ? CheckedMul(*per_partial, num_partials) : std::nullopt;
  const std::optional<int64_t> bytes = total ? CheckedMul(*total, 4) : std::nullopt;
  if (!bytes) {
    return absl::OutOfRangeError(absl::StrCat("workspace for ", num_partials, " partials of ",
                                              num_heads, " heads of ", head_size,
                                              " does not fit 63 bits"));
  }
  return *bytes;
}

absl::StatusOr<Plan> Plan::Build(const AttentionSpec& spec, const PlanConfig& config,
                                 uint64_t layer_fingerprint, const AttentionMetadata& metadata,
                                 const PcpPartition* partition, int64_t rank) {
  RETURN_IF_ERROR(CheckPartition(metadata, partition, rank));
  if (config.tile_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan: tiles of ", config.tile_tokens, " tokens"));
  }
  if (metadata.common_prefix_len() > 0) {
    return absl::UnimplementedError(absl::StrCat("plan: cascade attention over a common prefix of ",
                                                 metadata.common_prefix_len(),
                                                 " tokens is not supported"));
  }
  Plan plan;
  plan.layer_fingerprint_ = layer_fingerprint;
  plan.rank_ = rank;
  plan.num_blocks_ = metadata.num_blocks();
  plan.world_size_ = partition == nullptr ? 1 : partition->world_size();
  plan.num_rows_ = partition == nullptr ? metadata.num_actual_tokens() : partition->local_total();
  if (partition == nullptr) {
    plan.slots_.assign(metadata.slot_mapping().begin(), metadata.slot_mapping().end());
  } else {
    ASSIGN_OR_RETURN(plan.slots_, partition->GatheredSlots(metadata.slot_mapping()));
  }

  // Block tables in compressed rows: only what is read is uploaded.
  std::vector<int64_t> first_block(metadata.num_requests());
  for (int64_t i = 0; i < metadata.num_requests(); ++i) {
    first_block[i] = static_cast<int64_t>(plan.blocks_.size());
    const absl::Span<const int32_t> blocks = metadata.blocks(i);
    plan.blocks_.insert(plan.blocks_.end(), blocks.begin(), blocks.end());
  }
  if (static_cast<int64_t>(plan.blocks_.size()) > kMaxInt32) {
    return absl::OutOfRangeError(
        absl::StrCat("plan: ", plan.blocks_.size(), " block-table entries"));
  }

  const std::vector<Segment> segments =
      partition == nullptr ? metadata.Segments() : partition->Segments(rank);
  for (const Segment& segment : segments) {
    plan.causal_pairs_ += CausalPairs(segment);
    const int32_t block = static_cast<int32_t>(first_block[segment.request]);
    if (metadata.kinds()[segment.request] == RequestKind::kPrefill) {
      for (int64_t row = 0; row < segment.num_rows; row += config.tile_tokens) {
        plan.tiles_.push_back(
            {static_cast<int32_t>(segment.first_row + row),
             static_cast<int32_t>(std::min(config.tile_tokens, segment.num_rows - row)),
             static_cast<int32_t>(segment.first_position + row), block});
      }
      continue;
    }
    for (int64_t row = 0; row < segment.num_rows; ++row) {
      const int64_t position = segment.first_position + row;
      const int64_t granules = CeilDiv(position + 1, kGranule);
      if (plan.num_partials_ + granules > kMaxInt32) {
        return absl::OutOfRangeError(absl::StrCat("plan: request ", segment.request, ", position ",
                                                  position, ": more than ", kMaxInt32,
                                                  " granules of decodes"));
      }
      const int32_t decode_row = static_cast<int32_t>(plan.decode_rows_.size());
      plan.decode_rows_.push_back({static_cast<int32_t>(segment.first_row + row),
                                   static_cast<int32_t>(position), block,
                                   static_cast<int32_t>(plan.num_partials_)});
      for (int64_t g = 0; g < granules; ++g)
        plan.decode_splits_.push_back({decode_row, static_cast<int32_t>(g)});
      plan.num_partials_ += granules;
    }
  }
  std::stable_sort(plan.tiles_.begin(), plan.tiles_.end(),
                   [](const PrefillTile& a, const PrefillTile& b) {
                     return a.first_position + a.num_rows > b.first_position + b.num_rows;
                   });
  for (const auto& [begin, end] : PaddingRuns(segments, plan.num_rows_)) {
    plan.num_padding_rows_ += end - begin;
    for (int64_t row = begin; row < end; row += config.tile_tokens) {
      plan.tiles_.push_back({static_cast<int32_t>(row),
                             static_cast<int32_t>(std::min(config.tile_tokens, end - row)), 0, -1});
    }
  }
  ASSIGN_OR_RETURN(plan.workspace_bytes_,
                   WorkspaceBytes(plan.num_partials_, spec.num_heads, spec.head_size));

  Fingerprint print;
  print.Add(layer_fingerprint)
      .Add(plan.num_rows_)
      .Add(plan.world_size_)
      .Add(plan.rank_)
      .Add(plan.num_blocks_);
  print.AddAll<int64_t>(plan.slots_).AddAll<int32_t>(plan.blocks_);
  for (const PrefillTile& tile : plan.tiles_) {
    print.Add(tile.first_row).Add(tile.num_rows).Add(tile.first_position).Add(tile.first_block);
  }
  for (const DecodeRow& row : plan.decode_rows_)
    print.Add(row.row).Add(row.position).Add(row.first_block);
  plan.fingerprint_ = print.value();
  return plan;
}

std::string Plan::Explain() const {
  return absl::StrCat("rank ", rank_, " of ", world_size_, ": ", num_rows_, " rows (",
                      num_padding_rows_, " padding), ", tiles_.size(), " tiles, ",
                      decode_rows_.size(), " decode rows in ", decode_splits_.size(),
                      " granules of ", kGranule, " keys, ", slots_.size(), " slots, ",
                      blocks_.size(), " blocks, ", workspace_bytes_, " bytes of workspace, ",
                      causal_pairs_, " visible keys");
}

}  // namespace weft
