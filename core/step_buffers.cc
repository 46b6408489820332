// SPDX-License-Identifier: Apache-2.0
#include "core/step_buffers.h"

#include <algorithm>
#include <utility>

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

absl::Status StepBuffers::Update(Queue& queue, std::shared_ptr<const Plan> plan) {
  if (queue.device() != mirror_->device()) {
    return absl::FailedPreconditionError(
        absl::StrCat("step buffers: they lie on ", ToString(mirror_->device()),
                     ", the queue's device is ", ToString(queue.device())));
  }
  const auto count = [](const auto& values) { return static_cast<int64_t>(values.size()); };
  RETURN_IF_ERROR(CheckFits("slots", count(plan->slots()), limits_.max_slots));
  RETURN_IF_ERROR(CheckFits("blocks", count(plan->blocks()), limits_.max_blocks));
  RETURN_IF_ERROR(CheckFits("tiles", count(plan->tiles()), limits_.max_tiles));
  RETURN_IF_ERROR(CheckFits("decode rows", count(plan->decode_rows()), limits_.max_decode_rows));
  RETURN_IF_ERROR(
      CheckFits("decode splits", count(plan->decode_splits()), limits_.max_decode_splits));
  RETURN_IF_ERROR(
      CheckFits("bytes of workspace", plan->workspace_bytes(), limits_.workspace_bytes));

  // Views first: once bytes move, nothing can fail for a reason that the caller could have avoided.
  const DeviceId device = mirror_->device();
  const auto view = [&](const Section& section, DType dtype, absl::Span<const int64_t> extents) {
    return TensorView::Contiguous(mirror_->address() + section.offset, dtype, extents, device);
  };
  AttentionTables tables;
  ASSIGN_OR_RETURN(const TensorView slots,
                   view(slots_section_, DType::kI64, {count(plan->slots())}));
  ASSIGN_OR_RETURN(tables.blocks, view(blocks_section_, DType::kI32, {count(plan->blocks())}));
  ASSIGN_OR_RETURN(tables.tiles,
                   view(tiles_section_, DType::kI32, {count(plan->tiles()), kTileInts}));
  ASSIGN_OR_RETURN(tables.decode_rows,
                   view(rows_section_, DType::kI32, {count(plan->decode_rows()), kDecodeRowInts}));
  ASSIGN_OR_RETURN(tables.decode_splits, view(splits_section_, DType::kI32,
                                              {count(plan->decode_splits()), kDecodeSplitInts}));
  ASSIGN_OR_RETURN(tables.workspace, TensorView::Contiguous(workspace_->address(), DType::kF32,
                                                            {plan->workspace_bytes() / 4}, device));
  tables.num_partials = plan->num_partials();

  const std::pair<const Section*, absl::Span<const uint8_t>> copies[] = {
      {&slots_section_, BytesOf(plan->slots())},
      {&blocks_section_, BytesOf(plan->blocks())},
      {&tiles_section_, BytesOf(plan->tiles())},
      {&rows_section_, BytesOf(plan->decode_rows())},
      {&splits_section_, BytesOf(plan->decode_splits())},
  };
  for (const auto& [section, bytes] : copies) {
    RETURN_IF_ERROR(queue.CopyFromHost(mirror_->address() + section->offset, bytes));
  }
  plan_ = std::move(plan);
  tables_ = tables;
  slots_ = slots;
  return absl::OkStatus();
}

}  // namespace weft
