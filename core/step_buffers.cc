// SPDX-License-Identifier: Apache-2.0
#include "core/step_buffers.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr int64_t kAlignment = 256;

template <typename T>
absl::Span<const uint8_t> BytesOf(absl::Span<const T> values) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values.data()),
                             values.size() * sizeof(T));
}

// Entries that do nothing (StepLimits::pad).
constexpr int64_t kNoSlot = -1;

PrefillTile NoTile() {
  PrefillTile tile = {};
  tile.first_block = -1;
  tile.request = -1;
  return tile;
}

DecodeRow NoDecodeRow() {
  DecodeRow row = {};
  row.request = -1;
  return row;
}

constexpr DecodeSplit kNoSplit = {-1, 0};

// The bytes of `values`, and behind them of as many `nothing` as make `count`.
template <typename T>
std::vector<uint8_t> Padded(absl::Span<const T> values, int64_t count, const T& nothing) {
  std::vector<T> padded(values.begin(), values.end());
  padded.resize(static_cast<size_t>(count), nothing);
  const auto* const bytes = reinterpret_cast<const uint8_t*>(padded.data());
  return std::vector<uint8_t>(bytes, bytes + padded.size() * sizeof(T));
}

absl::Status CheckFits(std::string_view name, int64_t need, int64_t limit) {
  if (need <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("step buffers: the plan has ", need, " ", name, ", the limit is ", limit));
}

}  // namespace

absl::StatusOr<StepLimits> StepLimits::For(const AttentionSpec& spec, const KvCacheLayout& layout,
                                           int64_t world_size, int64_t max_rows,
                                           int64_t max_requests, int64_t max_seq_len,
                                           int64_t max_decode_tokens) {
  StepLimits limits;
  const std::optional<int64_t> slots = CheckedMul(world_size, max_rows);
  const std::optional<int64_t> blocks =
      CheckedMul(max_requests, CeilDiv(max_seq_len, layout.block_size()));
  const std::optional<int64_t> splits =
      CheckedMul(max_decode_tokens, CeilDiv(max_seq_len, kGranule));
  if (!slots || !blocks || !splits) return absl::OutOfRangeError("step limits do not fit 63 bits");
  limits.max_slots = *slots;
  limits.max_blocks = *blocks;
  limits.max_tiles = max_rows;
  limits.max_rows = max_rows;
  limits.max_decode_rows = max_decode_tokens;
  limits.max_decode_splits = *splits;
  ASSIGN_OR_RETURN(limits.workspace_bytes, WorkspaceBytes(*splits, spec.num_heads, spec.head_size));
  return limits;
}

absl::StatusOr<std::unique_ptr<StepBuffers>> StepBuffers::Create(std::shared_ptr<Backend> backend,
                                                                 const StepLimits& limits) {
  auto step = std::unique_ptr<StepBuffers>(new StepBuffers);
  step->limits_ = limits;
  struct Wanted {
    std::string_view name;
    int64_t count;
    int64_t bytes_each;
    Section* section;
  };
  const Wanted wanted[] = {
      {"slots", limits.max_slots, sizeof(int64_t), &step->slots_section_},
      {"blocks", limits.max_blocks, sizeof(int32_t), &step->blocks_section_},
      {"tiles", limits.max_tiles, sizeof(PrefillTile), &step->tiles_section_},
      {"decode rows", limits.max_decode_rows, sizeof(DecodeRow), &step->rows_section_},
      {"decode splits", limits.max_decode_splits, sizeof(DecodeSplit), &step->splits_section_},
  };
  int64_t offset = 0;
  for (const Wanted& array : wanted) {
    if (array.count < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("step buffers: a limit of ", array.count, " ", array.name));
    }
    const std::optional<int64_t> bytes = CheckedMul(array.count, array.bytes_each);
    const std::optional<int64_t> next =
        bytes ? CheckedAdd(offset, *bytes + kAlignment) : std::nullopt;
    if (!next)
      return absl::OutOfRangeError(absl::StrCat("step buffers: ", array.count, " ", array.name));
    *array.section = {offset, *bytes};
    offset = *next / kAlignment * kAlignment;
  }
  if (limits.workspace_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("step buffers: a workspace of ", limits.workspace_bytes, " bytes"));
  }
  ASSIGN_OR_RETURN(step->mirror_, backend->Allocate(std::max<int64_t>(offset, kAlignment)));
  ASSIGN_OR_RETURN(step->workspace_,
                   backend->Allocate(std::max<int64_t>(limits.workspace_bytes, 4)));
  step->backend_ = std::move(backend);
  return step;
}

absl::Status StepBuffers::CheckPlan(const Plan& plan) const {
  const auto count = [](const auto& values) { return static_cast<int64_t>(values.size()); };
  RETURN_IF_ERROR(CheckFits("slots", count(plan.slots()), limits_.max_slots));
  RETURN_IF_ERROR(CheckFits("blocks", count(plan.blocks()), limits_.max_blocks));
  RETURN_IF_ERROR(CheckFits("tiles", count(plan.tiles()), limits_.max_tiles));
  RETURN_IF_ERROR(CheckFits("decode rows", count(plan.decode_rows()), limits_.max_decode_rows));
  RETURN_IF_ERROR(
      CheckFits("decode splits", count(plan.decode_splits()), limits_.max_decode_splits));
  RETURN_IF_ERROR(CheckFits("bytes of workspace", plan.workspace_bytes(), limits_.workspace_bytes));
  if (!limits_.pad) return absl::OkStatus();
  RETURN_IF_ERROR(CheckFits("rows", plan.num_rows(), limits_.max_rows));
  if (plan_ == nullptr) return absl::OkStatus();
  if (plan.layer_fingerprint() != plan_->layer_fingerprint() ||
      plan.num_blocks() != plan_->num_blocks() || plan.key_scope() != plan_->key_scope() ||
      plan.partial() != plan_->partial()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "step buffers: a padded step is captured and replayed with plans of one kind; the plan is ",
        plan.layer_fingerprint() != plan_->layer_fingerprint()
            ? "of another layer than"
            : "of another scope, or for another number of cache blocks, than",
        " the one before (", plan.num_blocks(), " and ", plan_->num_blocks(), " blocks)"));
  }
  return absl::OkStatus();
}

int64_t StepBuffers::num_rows() const {
  if (limits_.pad) return limits_.max_rows;
  return plan_ == nullptr ? 0 : plan_->num_rows();
}

StepBuffers::Counts StepBuffers::CountsOf(const Plan& plan) const {
  const auto count = [](const auto& values) { return static_cast<int64_t>(values.size()); };
  if (limits_.pad) {
    return {limits_.max_slots,       limits_.max_blocks,        limits_.max_tiles,
            limits_.max_decode_rows, limits_.max_decode_splits, limits_.max_decode_splits,
            limits_.workspace_bytes};
  }
  return {count(plan.slots()),       count(plan.blocks()),        count(plan.tiles()),
          count(plan.decode_rows()), count(plan.decode_splits()), plan.num_partials(),
          plan.workspace_bytes()};
}

absl::Status StepBuffers::CopyTables(Queue& queue, const Plan& plan) const {
  const std::pair<const Section*, absl::Span<const uint8_t>> copies[] = {
      {&slots_section_, BytesOf(plan.slots())},
      {&blocks_section_, BytesOf(plan.blocks())},
      {&tiles_section_, BytesOf(plan.tiles())},
      {&rows_section_, BytesOf(plan.decode_rows())},
      {&splits_section_, BytesOf(plan.decode_splits())},
  };
  for (const auto& [section, bytes] : copies) {
    RETURN_IF_ERROR(queue.CopyFromHost(mirror_->address() + section->offset, bytes));
  }
  return absl::OkStatus();
}

absl::Status StepBuffers::CopyPaddedTables(Queue& queue, const Plan& plan) const {
  const auto copy = [&](const Section& section, const std::vector<uint8_t>& bytes) {
    return queue.CopyFromHost(mirror_->address() + section.offset, bytes);
  };
  RETURN_IF_ERROR(copy(slots_section_, Padded(plan.slots(), limits_.max_slots, kNoSlot)));
  RETURN_IF_ERROR(
      queue.CopyFromHost(mirror_->address() + blocks_section_.offset, BytesOf(plan.blocks())));
  RETURN_IF_ERROR(copy(tiles_section_, Padded(plan.tiles(), limits_.max_tiles, NoTile())));
  RETURN_IF_ERROR(
      copy(rows_section_, Padded(plan.decode_rows(), limits_.max_decode_rows, NoDecodeRow())));
  return copy(splits_section_, Padded(plan.decode_splits(), limits_.max_decode_splits, kNoSplit));
}

absl::Status StepBuffers::Update(Queue& queue, std::shared_ptr<const Plan> plan) {
  if (queue.device() != mirror_->device()) {
    return absl::FailedPreconditionError(
        absl::StrCat("step buffers: they lie on ", ToString(mirror_->device()),
                     ", the queue's device is ", ToString(queue.device())));
  }
  RETURN_IF_ERROR(CheckPlan(*plan));
  // Views first: once bytes move, nothing can fail for a reason that the caller could have avoided.
  const DeviceId device = mirror_->device();
  const auto view = [&](const Section& section, DType dtype, absl::Span<const int64_t> extents) {
    return TensorView::Contiguous(mirror_->address() + section.offset, dtype, extents, device);
  };
  const Counts counts = CountsOf(*plan);
  AttentionTables tables;
  ASSIGN_OR_RETURN(const TensorView slots, view(slots_section_, DType::kI64, {counts.slots}));
  ASSIGN_OR_RETURN(tables.blocks, view(blocks_section_, DType::kI32, {counts.blocks}));
  ASSIGN_OR_RETURN(tables.tiles, view(tiles_section_, DType::kI32, {counts.tiles, kTileInts}));
  ASSIGN_OR_RETURN(tables.decode_rows,
                   view(rows_section_, DType::kI32, {counts.decode_rows, kDecodeRowInts}));
  ASSIGN_OR_RETURN(tables.decode_splits,
                   view(splits_section_, DType::kI32, {counts.decode_splits, kDecodeSplitInts}));
  ASSIGN_OR_RETURN(tables.workspace, TensorView::Contiguous(workspace_->address(), DType::kF32,
                                                            {counts.workspace_bytes / 4}, device));
  tables.num_partials = counts.partials;
  tables.padded = limits_.pad;
  RETURN_IF_ERROR(limits_.pad ? CopyPaddedTables(queue, *plan) : CopyTables(queue, *plan));
  plan_ = std::move(plan);
  tables_ = tables;
  slots_ = slots;
  return absl::OkStatus();
}

}  // namespace weft
