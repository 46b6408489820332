// SPDX-License-Identifier: Apache-2.0
#include "core/ops/context_attention.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/ops/io_check.h"
#include "core/status_macros.h"
#include "core/view_check.h"

namespace weft {
namespace {

constexpr std::string_view kOp = "context_attention";

// A layer that leaves its result as an f32 state; sinks wait for the merge.
AttentionSpec PartialSpec(const AttentionSpec& spec) {
  AttentionSpec part = spec;
  part.out_dtype = DType::kF32;
  part.out_scale = 1.0f;
  part.sinks.clear();
  return part;
}

// The chunk's keys are as the projection left them.
AttentionSpec ChunkSpec(const AttentionSpec& spec) {
  AttentionSpec part = PartialSpec(spec);
  part.kv_dtype = spec.dtype;
  part.k_scales.clear();
  part.v_scales.clear();
  return part;
}

absl::StatusOr<KvCacheLayout> ChunkLayout(const AttentionSpec& spec, const ChunkStrides& strides) {
  const auto or_dense = [](int64_t stride, int64_t dense) { return stride == 0 ? dense : stride; };
  const int64_t row = spec.num_kv_heads * spec.head_size;
  return KvCacheLayout::Rows(
      spec.dtype, spec.num_kv_heads, spec.head_size, or_dense(strides.key_row, row),
      or_dense(strides.key_head, spec.head_size), or_dense(strides.value_row, row),
      or_dense(strides.value_head, spec.head_size));
}

absl::StatusOr<int64_t> StateBytes(const AttentionSpec& spec, int64_t rows) {
  const std::optional<int64_t> floats = CheckedMul(spec.num_heads, spec.head_size + 1);
  const std::optional<int64_t> all = floats ? CheckedMul(*floats, rows) : std::nullopt;
  const std::optional<int64_t> bytes = all ? CheckedMul(*all, 4) : std::nullopt;
  if (!bytes) return absl::OutOfRangeError(absl::StrCat(kOp, ": a state of ", rows, " rows"));
  return *bytes;
}

absl::StatusOr<TensorView> RowsOf(const TensorView& view, int64_t begin, int64_t end) {
  std::array<int64_t, TensorView::kMaxRank> extents = {}, strides = {};
  for (int axis = 0; axis < view.rank(); ++axis) {
    extents[axis] = axis == 0 ? end - begin : view.extent(axis);
    strides[axis] = view.stride(axis);
  }
  const auto rank = static_cast<size_t>(view.rank());
  const int64_t offset = begin * view.stride(0) * SizeOf(view.dtype());
  return TensorView::Create(view.address() + static_cast<uint64_t>(offset), view.dtype(),
                            absl::MakeConstSpan(extents).first(rank),
                            absl::MakeConstSpan(strides).first(rank), view.device());
}

}  // namespace

absl::StatusOr<ContextAttention::Part> ContextAttention::MakePart(
    const std::shared_ptr<Backend>& backend, const AttentionSpec& spec, const KvCacheLayout& layout,
    const StepLimits& limits, int64_t max_rows) {
  ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(backend, spec, layout));
  ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step, StepBuffers::Create(backend, limits));
  ASSIGN_OR_RETURN(const int64_t bytes, StateBytes(spec, max_rows));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> memory, backend->Allocate(bytes));
  return Part{std::move(layer), std::move(step), std::move(memory)};
}

absl::StatusOr<std::unique_ptr<ContextAttention>> ContextAttention::Create(
    std::shared_ptr<Backend> backend, const AttentionSpec& spec, const KvCacheLayout& layout,
    const OpLimits& limits, const ContextAttentionOptions& options) {
  if (backend == nullptr) return absl::InvalidArgumentError(absl::StrCat(kOp, ": no backend"));
  RETURN_IF_ERROR(ValidateForLayout(spec, layout));
  if (spec.fp8_query) {
    return absl::UnimplementedError(absl::StrCat(
        kOp, ": an fp8 query is not supported, the chunk's keys are ", Name(spec.dtype)));
  }
  ASSIGN_OR_RETURN(const StepLimits context_limits, StepLimitsOf(kOp, spec, layout, limits));
  ASSIGN_OR_RETURN(const KvCacheLayout chunk_layout, ChunkLayout(spec, options.strides));
  StepLimits chunk_limits = context_limits;
  chunk_limits.max_slots = 0;                          // nothing is written
  chunk_limits.max_blocks = context_limits.max_slots;  // a block is a row of the group's
  ASSIGN_OR_RETURN(Part context,
                   MakePart(backend, PartialSpec(spec), layout, context_limits, limits.max_rows));
  ASSIGN_OR_RETURN(Part chunk,
                   MakePart(backend, ChunkSpec(spec), chunk_layout, chunk_limits, limits.max_rows));
  AttentionSpec only_sinks = ChunkSpec(spec);
  only_sinks.alibi_slopes.clear();
  only_sinks.sinks = spec.sinks;
  ASSIGN_OR_RETURN(std::shared_ptr<const HeadValueBuffer> sinks,
                   HeadValueBuffer::Create(*backend, only_sinks));
  return std::unique_ptr<ContextAttention>(new ContextAttention(
      spec, options, limits.max_rows, std::move(context), std::move(chunk), std::move(sinks)));
}

std::vector<ContextAttention::RowRun> ContextAttention::NamedRows(const Plan& plan) {
  std::vector<RowRun> pieces;
  for (const PrefillTile& tile : plan.tiles())
    pieces.push_back({tile.first_row, int64_t{tile.first_row} + tile.num_rows});
  for (const DecodeRow& row : plan.decode_rows()) pieces.push_back({row.row, int64_t{row.row} + 1});
  std::sort(pieces.begin(), pieces.end(),
            [](const RowRun& a, const RowRun& b) { return a.begin < b.begin; });
  std::vector<RowRun> runs;
  for (const RowRun& piece : pieces) {
    if (!runs.empty() && runs.back().end == piece.begin) {
      runs.back().end = piece.end;
    } else {
      runs.push_back(piece);
    }
  }
  return runs;
}

absl::Status ContextAttention::Update(Queue& queue, const AttentionMetadata& metadata,
                                      const PcpPartition* partition, int64_t rank) {
  if (metadata.dcp().world > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat(kOp, ": the cache is a shard of ", metadata.dcp().world,
                     " DCP ranks, whose states must be merged before the chunk's"));
  }
  PlanOptions options;
  options.partition = partition;
  options.rank = rank;
  options.rows = options_.rows;
  options.keys = KeyScope::kContext;
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> context, context_.layer.MakePlan(metadata, options));
  options.keys = KeyScope::kNew;
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> chunk, chunk_.layer.MakePlan(metadata, options));
  if (chunk->num_rows() > max_rows_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kOp, ": the step has ", chunk->num_rows(), " rows, the limit is ", max_rows_));
  }
  std::vector<RowRun> rows = NamedRows(*chunk);
  RETURN_IF_ERROR(context_.step->Update(queue, std::move(context)));
  RETURN_IF_ERROR(chunk_.step->Update(queue, std::move(chunk)));
  rows_ = std::move(rows);
  return absl::OkStatus();
}

absl::Status ContextAttention::Update(Queue& queue, const StepArrays& arrays,
                                      const KvCacheView& cache) {
  ASSIGN_OR_RETURN(const AttentionMetadata metadata,
                   BuildStepMetadata(kOp, arrays, cache, DecodeRule::kSingleTokens, spec_.window));
  return Update(queue, metadata);
}

absl::Status ContextAttention::CheckChunk(const Queue& queue, const ContextAttentionIo& io,
                                          int64_t key_rows) const {
  const ViewCheck check = {queue.allocations(), queue.device()};
  const KvCacheLayout& layout = chunk_.layer.layout();
  for (const auto& [name, view, strides] :
       {std::tuple("context_attention: key", &io.key, &layout.key_strides()),
        std::tuple("context_attention: value", &io.value, &layout.value_strides())}) {
    RETURN_IF_ERROR(
        check.Rows(name, *view, spec_.dtype, key_rows, spec_.num_kv_heads, spec_.head_size));
    if ((view->extent(0) > 1 && view->stride(0) != strides->block) ||
        (view->extent(1) > 1 && view->stride(1) != strides->head)) {
      return absl::InvalidArgumentError(absl::StrCat(name, " has strides ", view->stride(0),
                                                     " and ", view->stride(1), ", created for ",
                                                     strides->block, " and ", strides->head));
    }
    RETURN_IF_ERROR(CheckDisjoint("context_attention: out", io.out, name, *view));
    RETURN_IF_ERROR(CheckDisjoint("context_attention: lse", io.lse, name, *view));
  }
  return absl::OkStatus();
}

absl::Status ContextAttention::CheckAll(const Queue& queue, const ContextAttentionIo& io,
                                        int64_t rows, int64_t key_rows) const {
  RETURN_IF_ERROR(
      CheckIo(kOp, queue, spec_, rows, IoOverCache(io.query, io.out, io.lse, io.cache)));
  RETURN_IF_ERROR(CheckNoOverlapInside("context_attention: out", io.out));
  if (io.lse.given()) RETURN_IF_ERROR(CheckNoOverlapInside("context_attention: lse", io.lse));
  if (io.cache.layout().fingerprint() != context_.layer.layout().fingerprint()) {
    return absl::FailedPreconditionError(
        absl::StrCat(kOp, ": cache is ", io.cache.layout().ToString(), ", created for ",
                     context_.layer.layout().ToString()));
  }
  return CheckChunk(queue, io, key_rows);
}

absl::StatusOr<ContextAttention::State> ContextAttention::StateOf(const Part& part,
                                                                  const RowRun& rows) const {
  const uint64_t out = part.memory->address();
  const uint64_t lse =
      out + static_cast<uint64_t>(max_rows_ * spec_.num_heads * spec_.head_size * 4);
  const DeviceId device = part.memory->device();
  State state;
  ASSIGN_OR_RETURN(const TensorView all_out,
                   TensorView::Contiguous(out, DType::kF32,
                                          {max_rows_, spec_.num_heads, spec_.head_size}, device));
  ASSIGN_OR_RETURN(const TensorView all_lse,
                   TensorView::Contiguous(lse, DType::kF32, {max_rows_, spec_.num_heads}, device));
  ASSIGN_OR_RETURN(state.out, RowsOf(all_out, rows.begin, rows.end));
  ASSIGN_OR_RETURN(state.lse, RowsOf(all_lse, rows.begin, rows.end));
  return state;
}

absl::Status ContextAttention::AttendPart(Queue& queue, const Part& part, const TensorView& query,
                                          const KvCacheView& keys) const {
  ASSIGN_OR_RETURN(const State state, StateOf(part, {0, max_rows_}));
  return part.layer.Attend(queue, *part.step, IoOverCache(query, state.out, state.lse, keys));
}

absl::Status ContextAttention::Merge(Queue& queue, const ContextAttentionIo& io,
                                     const RowRun& rows) const {
  ASSIGN_OR_RETURN(const State context, StateOf(context_, rows));
  ASSIGN_OR_RETURN(const State chunk, StateOf(chunk_, rows));
  MergeStatesArgs args;
  args.a = context.out;
  args.a_lse = context.lse;
  args.b = chunk.out;
  args.b_lse = chunk.lse;
  args.sinks = sinks_->values().sinks;
  args.out_scale = spec_.out_scale;
  ASSIGN_OR_RETURN(args.out, RowsOf(io.out, rows.begin, rows.end));
  if (io.lse.given()) {
    ASSIGN_OR_RETURN(args.lse, RowsOf(io.lse, rows.begin, rows.end));
  }
  return queue.MergeStates(args);
}

absl::Status ContextAttention::Attend(Queue& queue, const ContextAttentionIo& io) const {
  const Plan* const plan = chunk_.step->plan();
  if (plan == nullptr)
    return absl::FailedPreconditionError(absl::StrCat(kOp, ": there is no step yet"));
  if (rows_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckAll(queue, io, plan->num_rows(), plan->num_blocks()));
  const KvSegment rows = {io.key.address(), io.value.address(), io.key.extent(0)};
  ASSIGN_OR_RETURN(const KvCacheView chunk_keys,
                   KvCacheView::Create(chunk_.layer.layout(), queue.device(), {rows}));
  RETURN_IF_ERROR(AttendPart(queue, context_, io.query, io.cache));
  RETURN_IF_ERROR(AttendPart(queue, chunk_, io.query, chunk_keys));
  for (const RowRun& run : rows_) RETURN_IF_ERROR(Merge(queue, io, run));
  return absl::OkStatus();
}

absl::Status ContextAttention::Run(Queue& queue, const StepArrays& arrays,
                                   const ContextAttentionIo& io) {
  const int64_t rows = NumRows(arrays);
  if (rows > 0) RETURN_IF_ERROR(CheckAll(queue, io, rows, rows));
  RETURN_IF_ERROR(Update(queue, arrays, io.cache));
  return Attend(queue, io);
}

}  // namespace weft
