// SPDX-License-Identifier: Apache-2.0
//
// RecordAttention: up to three dispatches. Decode granules and prefill tiles write different memory
// and need no barrier between them; the merge reads the granules' states.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/head_values.h"
#include "core/plan.h"
#include "core/status_macros.h"
#include "vulkan/ops/grid.h"
#include "vulkan/ops/ops.h"
#include "vulkan/ops/params.h"
#include "vulkan/ops/segments.h"
#include "vulkan/ops/shader_dtype.h"

namespace weft::vulkan {
namespace {

uint64_t RowBits(const TensorView& view) {
  const int64_t elements = view.stride(0) | view.stride(1) | view.extent(2);
  return view.address() | static_cast<uint64_t>(elements * SizeOf(view.dtype()));
}

void FillRows(const AttentionArgs& args, AttentionParams& params) {
  const uint64_t query_element = SizeOf(args.query.dtype());
  params.query = args.query.address();
  params.query_row_stride = args.query.stride(0) * query_element;
  params.query_head_stride = args.query.stride(1) * query_element;
  params.query_dtype = ShaderDType(args.query.dtype());
  const uint64_t out_element = SizeOf(args.out.dtype());
  params.out_rows = args.out.address();
  params.out_row_stride = args.out.stride(0) * out_element;
  params.out_head_stride = args.out.stride(1) * out_element;
  params.out_dtype = ShaderDType(args.out.dtype());
  if (args.lse.given()) {
    params.lse = args.lse.address();
    params.lse_row_stride = args.lse.stride(0) * sizeof(float);
    params.lse_head_stride = args.lse.stride(1) * sizeof(float);
  }
  const uint32_t query_piece = IsFp8(args.query.dtype()) ? kPieceBytes / 2 : kPieceBytes;
  if (IsAligned(RowBits(args.query), query_piece)) params.flags |= kQueryAligned;
  if (IsAligned(RowBits(args.out), kPieceBytes)) params.flags |= kOutAligned;
}

void FillLayout(const KvCacheLayout& layout, AttentionParams& params) {
  const uint64_t element = SizeOf(layout.dtype());
  const KvStrides& key = layout.key_strides();
  const KvStrides& value = layout.value_strides();
  params.key_block_stride = key.block * element;
  params.key_token_stride = key.token * element;
  params.key_head_stride = key.head * element;
  params.value_block_stride = value.block * element;
  params.value_token_stride = value.token * element;
  params.value_head_stride = value.head * element;
  params.key_run = static_cast<uint32_t>(RunOf(layout, key));
  params.value_run = static_cast<uint32_t>(RunOf(layout, value));
  params.by_key_run = MakeDivisor(params.key_run);
  params.by_value_run = MakeDivisor(params.value_run);
  if (key.inner > 0) params.key_run_stride = key.split * element;
  if (value.inner > 0) params.value_run_stride = value.split * element;
  params.block_size = static_cast<uint32_t>(layout.block_size());
  params.by_block_size = MakeDivisor(params.block_size);
  params.kv_dtype = ShaderDType(layout.dtype());
  params.value_unit = Float8Unit(layout.dtype());
}

void FillSpec(const AttentionSpec& spec, AttentionParams& params) {
  params.num_heads = static_cast<uint32_t>(spec.num_heads);
  params.num_kv_heads = static_cast<uint32_t>(spec.num_kv_heads);
  params.group_size = static_cast<uint32_t>(spec.group_size());
  params.head_size = static_cast<uint32_t>(spec.head_size);
  params.by_group_size = MakeDivisor(params.group_size);
  params.scale = spec.effective_scale() * Float8Unit(spec.kv_dtype);
  if (spec.softcap != 0.0f) {
    params.softcap = spec.softcap;
    params.inverse_softcap = 1.0f / spec.softcap;
  }
  const int64_t longest = std::numeric_limits<int32_t>::max();
  params.window = static_cast<int32_t>(spec.window > 0 ? std::min(spec.window, longest) : longest);
  params.inverse_out_scale = 1.0f / spec.out_scale;
}

void FillHeadValues(const AttentionArgs& args, AttentionParams& params) {
  const HeadValues& values = args.head_values;
  params.alibi_slopes = values.alibi_slopes.address();
  if (args.apply_sinks) params.sinks = values.sinks.address();
  params.k_scales = values.k_scales.address();
  params.v_scales = values.v_scales.address();
}

void AppendHeadValues(const AttentionArgs& args, std::vector<Access>& accesses) {
  const HeadValues& values = args.head_values;
  for (const TensorView* view :
       {&values.alibi_slopes, &values.sinks, &values.k_scales, &values.v_scales}) {
    if (view->given()) accesses.push_back(Reads(*view));
  }
}

void FillTables(const AttentionSpec& spec, const AttentionTables& tables, AttentionParams& params) {
  params.tiles = tables.tiles.address();
  params.decode_rows = tables.decode_rows.address();
  params.decode_splits = tables.decode_splits.address();
  params.blocks = tables.blocks.address();
  if (tables.num_partials == 0) return;
  params.partial_sums = tables.workspace.address();
  params.partial_stats = params.partial_sums + static_cast<uint64_t>(tables.num_partials) *
                                                   spec.num_heads * spec.head_size * sizeof(float);
}

// Whether rows lie in whole pieces: the layout's strides, and the bases.
void FillAlignment(const AttentionSpec& spec, const KvCacheView& cache, AttentionParams& params) {
  const KvCacheLayout& layout = cache.layout();
  uint64_t key_bits = StrideBits(layout, layout.key_strides());
  uint64_t value_bits = StrideBits(layout, layout.value_strides());
  for (const KvSegment& segment : cache.segments()) {
    key_bits |= segment.key_base;
    value_bits |= segment.value_base;
  }
  const uint32_t piece = PieceBytes(spec.dtype, layout.dtype());
  if (IsAligned(key_bits, piece)) params.flags |= kKeysAligned;
  if (IsAligned(value_bits, piece)) params.flags |= kValuesAligned;
}

// What the dispatches of one call have in common.
struct Call {
  Recorder& recorder;
  const AttentionArgs& args;
  AttentionParams params;
  SegmentTable segments;

  const Kernel& Choose(const Kernel* whole_pieces, const Kernel* any) const {
    constexpr uint32_t kBoth = kKeysAligned | kValuesAligned;
    return whole_pieces != nullptr && (params.flags & kBoth) == kBoth ? *whole_pieces : *any;
  }

  // `work` items, each `params.chunks` workgroups for each of `heads` heads.
  absl::Status Dispatch(const Kernel& kernel, int64_t work, int64_t heads,
                        absl::Span<const Access> accesses) {
    params.num_work = static_cast<uint32_t>(work);
    ASSIGN_OR_RETURN(const auto groups, FoldGrid(recorder.device().limits(),
                                                 work * heads * params.chunks, kernel.name()));
    return recorder.Dispatch(kernel,
                             ParamBytes(params, offsetof(AttentionParams, segments), segments),
                             groups, accesses);
  }
};

absl::Status RecordDecode(const AttentionSpec& spec, const AttentionKernels& kernels, Call& call) {
  const AttentionTables& tables = call.args.tables;
  if (tables.decode_splits.empty()) return absl::OkStatus();
  call.params.chunks = static_cast<uint32_t>((spec.group_size() + kernels.decode_shape.rows - 1) /
                                             kernels.decode_shape.rows);
  std::vector<Access> accesses = {Reads(call.args.query), Reads(tables.decode_rows),
                                  Reads(tables.decode_splits), Reads(tables.blocks),
                                  Writes(tables.workspace)};
  AppendHeadValues(call.args, accesses);
  RETURN_IF_ERROR(AppendCache(call.args.cache, /*write=*/false, accesses));
  return call.Dispatch(call.Choose(kernels.decode, kernels.any_decode),
                       tables.decode_splits.extent(0), spec.num_kv_heads, accesses);
}

absl::Status RecordPrefill(const AttentionSpec& spec, const AttentionKernels& kernels,
                           int64_t tile_tokens, Call& call) {
  const AttentionTables& tables = call.args.tables;
  if (tables.tiles.empty()) return absl::OkStatus();
  const int64_t rows = kernels.prefill_shape.rows_per_group();
  call.params.chunks = static_cast<uint32_t>((tile_tokens * spec.group_size() + rows - 1) / rows);
  std::vector<Access> accesses = {Reads(call.args.query), Reads(tables.tiles), Reads(tables.blocks),
                                  Writes(call.args.out)};
  if (call.args.lse.given()) accesses.push_back(Writes(call.args.lse));
  AppendHeadValues(call.args, accesses);
  RETURN_IF_ERROR(AppendCache(call.args.cache, /*write=*/false, accesses));
  return call.Dispatch(call.Choose(kernels.prefill, kernels.any_prefill), tables.tiles.extent(0),
                       spec.num_kv_heads, accesses);
}

absl::Status RecordMerge(const AttentionSpec& spec, const Kernel& kernel, Call& call) {
  const AttentionTables& tables = call.args.tables;
  if (tables.decode_rows.empty()) return absl::OkStatus();
  call.params.chunks = 1;
  std::vector<Access> accesses = {Reads(tables.decode_rows), Reads(tables.workspace),
                                  Writes(call.args.out)};
  if (call.args.lse.given()) accesses.push_back(Writes(call.args.lse));
  AppendHeadValues(call.args, accesses);
  return call.Dispatch(kernel, tables.decode_rows.extent(0), spec.num_heads, accesses);
}

}  // namespace

absl::Status RecordAttention(Recorder& recorder, const VulkanPreparedAttention& prepared,
                             const AttentionArgs& args) {
  const AttentionSpec& spec = prepared.spec();
  Call call = {recorder, args, {}, {}};
  FillRows(args, call.params);
  FillLayout(prepared.layout(), call.params);
  FillSpec(spec, call.params);
  FillHeadValues(args, call.params);
  FillAlignment(spec, args.cache, call.params);
  FillTables(spec, args.tables, call.params);
  ASSIGN_OR_RETURN(call.segments, FillSegments(args.cache, call.params.segments));
  call.params.blocks_per_segment = call.segments.blocks_per_segment;
  call.params.by_blocks_per_segment = MakeDivisor(call.segments.blocks_per_segment);

  const AttentionKernels& kernels = prepared.kernels();
  RETURN_IF_ERROR(RecordDecode(spec, kernels, call));
  RETURN_IF_ERROR(RecordPrefill(spec, kernels, prepared.plan_config().tile_tokens, call));
  return RecordMerge(spec, *kernels.merge, call);
}

}  // namespace weft::vulkan
