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
#include "core/tile_order.h"

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

// Which keys of its table a row at `position` (counted as the keys are) sees: [first, end).
struct KeyRange {
  int64_t first = 0;
  int64_t end = 0;
};

KeyRange Visible(int64_t position, int64_t num_keys, int64_t window) {
  KeyRange range;
  range.end = std::min(position + 1, num_keys);
  if (window > 0) range.first = std::max<int64_t>(position + 1 - window, 0);
  range.first = std::min(range.first, range.end);
  return range;
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

namespace {

absl::Status CheckScope(const AttentionSpec& spec, const PlanConfig& config,
                        const AttentionMetadata& metadata) {
  if (config.tile_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan: tiles of ", config.tile_tokens, " tokens"));
  }
  if (metadata.common_prefix_len() > 0) {
    return absl::UnimplementedError(absl::StrCat("plan: cascade attention over a common prefix of ",
                                                 metadata.common_prefix_len(),
                                                 " tokens is not supported"));
  }
  if (metadata.window() > 0 && (spec.window <= 0 || spec.window > metadata.window())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "plan: the metadata was built for windows of at most ", metadata.window(),
        " tokens, the layer has ", spec.window > 0 ? absl::StrCat(spec.window) : "none"));
  }
  if (metadata.dcp().world > 1 && (spec.window > 0 || !spec.alibi_slopes.empty())) {
    return absl::UnimplementedError(absl::StrCat(
        "plan: ", spec.window > 0 ? absl::StrCat("a window of ", spec.window) : "ALiBi",
        " under decode context parallelism of ", metadata.dcp().world, " is not supported"));
  }
  return absl::OkStatus();
}

}  // namespace

// What Build knows while it turns segments into tiles and decode rows.
struct Plan::Builder {
  const AttentionSpec& spec;
  const PlanConfig& config;
  const AttentionMetadata& metadata;
  const PlanOptions& options;
  Plan& plan;
  std::vector<int64_t> first_block = {};

  // The table of request `i` in compressed rows: only what is read is uploaded.
  absl::Status AddBlocks();
  // Of the row of request `request` at absolute position `position`: its keys, and the position as
  // these are counted.
  int64_t NumKeys(int64_t request, int64_t position) const;
  int64_t Position(int64_t request, int64_t position) const {
    return options.keys == KeyScope::kNew ? position - metadata.context_lens()[request] : position;
  }
  void AddEmpty(int64_t row, int64_t num_rows, int64_t request);
  void AddTiles(const Segment& segment);
  absl::Status AddDecodes(const Segment& segment);
};

absl::Status Plan::Builder::AddBlocks() {
  const int64_t requests = metadata.num_requests();
  std::vector<int64_t> gathered;
  if (options.keys == KeyScope::kNew && options.partition != nullptr) {
    gathered = options.partition->CompactRestoreIndex();
  }
  for (int64_t i = 0; i < requests; ++i) {
    first_block.push_back(static_cast<int64_t>(plan.blocks_.size()));
    if (options.keys == KeyScope::kNew) {
      for (int64_t token = metadata.query_start_loc()[i]; token < metadata.query_start_loc()[i + 1];
           ++token) {
        plan.blocks_.push_back(static_cast<int32_t>(gathered.empty() ? token : gathered[token]));
      }
      continue;
    }
    absl::Span<const int32_t> blocks = metadata.blocks(i);
    if (options.keys == KeyScope::kContext) {
      blocks = blocks.first(CeilDiv(metadata.context_lens()[i], metadata.tokens_per_block()));
    }
    plan.blocks_.insert(plan.blocks_.end(), blocks.begin(), blocks.end());
  }
  if (static_cast<int64_t>(plan.blocks_.size()) > kMaxInt32) {
    return absl::OutOfRangeError(
        absl::StrCat("plan: ", plan.blocks_.size(), " block-table entries"));
  }
  return absl::OkStatus();
}

int64_t Plan::Builder::NumKeys(int64_t request, int64_t position) const {
  const int64_t context = metadata.context_lens()[request];
  switch (options.keys) {
    case KeyScope::kNew:
      return metadata.seq_lens()[request] - context;
    case KeyScope::kContext:
      return metadata.dcp().LocalLength(context);
    case KeyScope::kAll:
      break;
  }
  // Of the keys up to the row's own, those on this rank: local indices lie at or before positions,
  // so the causal mask cuts nothing more.
  return metadata.dcp().world > 1 ? metadata.dcp().LocalLength(position + 1)
                                  : metadata.seq_lens()[request];
}

void Plan::Builder::AddEmpty(int64_t row, int64_t num_rows, int64_t request) {
  for (int64_t at = 0; at < num_rows; at += config.tile_tokens) {
    PrefillTile tile = {};
    tile.first_row = static_cast<int32_t>(row + at);
    tile.num_rows = static_cast<int32_t>(std::min(config.tile_tokens, num_rows - at));
    tile.first_block = -1;
    tile.request = static_cast<int32_t>(request);
    plan.tiles_.push_back(tile);
  }
}

void Plan::Builder::AddTiles(const Segment& segment) {
  // Under DCP the number of a row's keys is no simple function of its position: a tile each.
  const bool interleaved = metadata.dcp().world > 1 && options.keys == KeyScope::kAll;
  const int64_t tile_tokens = interleaved ? 1 : config.tile_tokens;
  for (int64_t row = 0; row < segment.num_rows; row += tile_tokens) {
    const int64_t rows = std::min(tile_tokens, segment.num_rows - row);
    const int64_t absolute = segment.first_position + row;
    const int64_t position = Position(segment.request, absolute);
    const int64_t num_keys = NumKeys(segment.request, absolute);
    const int64_t last_end = Visible(position + rows - 1, num_keys, spec.window).end;
    const int64_t first = Visible(position, num_keys, spec.window).first;
    if (first == last_end) {
      AddEmpty(segment.first_row + row, rows, segment.request);
      continue;
    }
    for (int64_t i = 0; i < rows; ++i) {
      const KeyRange seen = Visible(position + i, num_keys, spec.window);
      plan.causal_pairs_ += seen.end - seen.first;
    }
    PrefillTile tile = {};
    tile.first_row = static_cast<int32_t>(segment.first_row + row);
    tile.num_rows = static_cast<int32_t>(rows);
    tile.first_position = static_cast<int32_t>(position);
    tile.first_block = static_cast<int32_t>(first_block[segment.request]);
    tile.num_keys = static_cast<int32_t>(num_keys);
    tile.first_key = static_cast<int32_t>(first);
    tile.request = segment.request;
    plan.tiles_.push_back(tile);
  }
}

absl::Status Plan::Builder::AddDecodes(const Segment& segment) {
  for (int64_t i = 0; i < segment.num_rows; ++i) {
    const int64_t absolute = segment.first_position + i;
    const int64_t position = Position(segment.request, absolute);
    const int64_t num_keys = NumKeys(segment.request, absolute);
    const KeyRange seen = Visible(position, num_keys, spec.window);
    if (seen.first == seen.end) {
      AddEmpty(segment.first_row + i, 1, segment.request);
      continue;
    }
    plan.causal_pairs_ += seen.end - seen.first;
    const int64_t first = seen.first / kGranule;
    const int64_t granules = (seen.end - 1) / kGranule - first + 1;
    if (plan.num_partials_ + granules > kMaxInt32) {
      return absl::OutOfRangeError(absl::StrCat("plan: request ", segment.request, ", position ",
                                                absolute, ": more than ", kMaxInt32,
                                                " granules of decodes"));
    }
    const auto index = static_cast<int32_t>(plan.decode_rows_.size());
    DecodeRow row = {};
    row.row = static_cast<int32_t>(segment.first_row + i);
    row.position = static_cast<int32_t>(position);
    row.first_block = static_cast<int32_t>(first_block[segment.request]);
    row.first_partial = static_cast<int32_t>(plan.num_partials_);
    row.num_keys = static_cast<int32_t>(num_keys);
    row.first_granule = static_cast<int32_t>(first);
    row.num_granules = static_cast<int32_t>(granules);
    row.request = segment.request;
    plan.decode_rows_.push_back(row);
    for (int64_t g = 0; g < granules; ++g)
      plan.decode_splits_.push_back({index, static_cast<int32_t>(first + g)});
    plan.num_partials_ += granules;
  }
  return absl::OkStatus();
}

absl::StatusOr<Plan> Plan::Build(const AttentionSpec& spec, const PlanConfig& config,
                                 uint64_t layer_fingerprint, const AttentionMetadata& metadata,
                                 const PlanOptions& options) {
  const PcpPartition* partition = options.partition;
  RETURN_IF_ERROR(CheckPartition(metadata, partition, options.rank));
  RETURN_IF_ERROR(CheckScope(spec, config, metadata));
  Plan plan;
  plan.layer_fingerprint_ = layer_fingerprint;
  plan.rank_ = options.rank;
  plan.key_scope_ = options.keys;
  plan.partial_ = options.keys != KeyScope::kAll || metadata.dcp().world > 1;
  plan.world_size_ = partition == nullptr ? 1 : partition->world_size();
  plan.num_rows_ = partition == nullptr ? metadata.num_actual_tokens() : partition->local_total();
  plan.num_blocks_ =
      options.keys == KeyScope::kNew ? plan.world_size_ * plan.num_rows_ : metadata.num_blocks();
  if (options.keys == KeyScope::kNew) {
    // Nothing is written: the keys are where they are.
  } else if (partition == nullptr) {
    plan.slots_.assign(metadata.slot_mapping().begin(), metadata.slot_mapping().end());
  } else {
    ASSIGN_OR_RETURN(plan.slots_, partition->GatheredSlots(metadata.slot_mapping()));
  }

  Builder builder = {spec, config, metadata, options, plan};
  RETURN_IF_ERROR(builder.AddBlocks());
  const std::vector<Segment> segments =
      partition == nullptr ? metadata.Segments() : partition->Segments(options.rank);
  for (const Segment& segment : segments) {
    if (metadata.kinds()[segment.request] == RequestKind::kPrefill) {
      if (options.rows != RowScope::kDecodes) builder.AddTiles(segment);
    } else if (options.rows != RowScope::kPrefills) {
      RETURN_IF_ERROR(builder.AddDecodes(segment));
    }
  }
  OrderTiles(config.tiles_at_once, plan.tiles_);
  for (const auto& [begin, end] : PaddingRuns(segments, plan.num_rows_)) {
    plan.num_padding_rows_ += end - begin;
    builder.AddEmpty(begin, end - begin, -1);
  }
  ASSIGN_OR_RETURN(plan.workspace_bytes_,
                   WorkspaceBytes(plan.num_partials_, spec.num_heads, spec.head_size));
  plan.fingerprint_ = plan.ComputeFingerprint();
  return plan;
}

uint64_t Plan::ComputeFingerprint() const {
  Fingerprint print;
  print.Add(layer_fingerprint_).Add(num_rows_).Add(world_size_).Add(rank_).Add(num_blocks_);
  print.Add(key_scope_).Add(partial_);
  print.AddAll<int64_t>(slots_).AddAll<int32_t>(blocks_);
  for (const PrefillTile& tile : tiles_) {
    print.Add(tile.first_row).Add(tile.num_rows).Add(tile.first_position).Add(tile.first_block);
    print.Add(tile.num_keys).Add(tile.first_key);
  }
  for (const DecodeRow& row : decode_rows_) {
    print.Add(row.row).Add(row.position).Add(row.first_block).Add(row.num_keys);
    print.Add(row.first_granule).Add(row.num_granules);
  }
  return print.value();
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
