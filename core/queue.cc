// SPDX-License-Identifier: Apache-2.0
#include "core/queue.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/plan.h"
#include "core/status_macros.h"
#include "core/view_check.h"

namespace weft {
namespace {

template <typename... T>
absl::Status Invalid(const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

bool Overlap(uint64_t a, uint64_t b, int64_t bytes) {
  const auto size = static_cast<uint64_t>(bytes);
  return a < b + size && b < a + size;
}

absl::Status CheckAttentionTables(const ViewCheck& check, const AttentionArgs& args) {
  const AttentionTables& tables = args.tables;
  RETURN_IF_ERROR(check.Table("attention: tiles", tables.tiles, DType::kI32, kTileInts));
  RETURN_IF_ERROR(
      check.Table("attention: decode rows", tables.decode_rows, DType::kI32, kDecodeRowInts));
  RETURN_IF_ERROR(
      check.Table("attention: decode splits", tables.decode_splits, DType::kI32, kDecodeSplitInts));
  RETURN_IF_ERROR(check.Table("attention: blocks", tables.blocks, DType::kI32, 0));
  const AttentionSpec& spec = args.prepared->spec();
  ASSIGN_OR_RETURN(const int64_t need,
                   WorkspaceBytes(tables.num_partials, spec.num_heads, spec.head_size));
  if (need == 0) return absl::OkStatus();
  RETURN_IF_ERROR(check.Table("attention: workspace", tables.workspace, DType::kF32, 0));
  if (tables.workspace.span_bytes() < need) {
    return absl::ResourceExhaustedError(absl::StrCat("attention: workspace has ",
                                                     tables.workspace.span_bytes(),
                                                     " bytes, the plan needs ", need));
  }
  return absl::OkStatus();
}

absl::Status CheckOutScale(std::string_view name, float scale, DType dtype) {
  if (!std::isfinite(scale) || scale <= 0.0f)
    return Invalid(name, ": scale is ", scale, ", must be positive");
  if (scale != 1.0f && !IsFp8(dtype))
    return Invalid(name, ": scale is ", scale, " for a ", Name(dtype), " output, must be 1");
  return absl::OkStatus();
}

}  // namespace

std::string_view Name(OpKind kind) {
  switch (kind) {
    case OpKind::kCopy:
      return "copy";
    case OpKind::kFill:
      return "fill";
    case OpKind::kReshapeAndCache:
      return "reshape_and_cache";
    case OpKind::kAttention:
      return "attention";
    case OpKind::kGatherRows:
      return "gather_rows";
    case OpKind::kMergeStates:
      return "merge_states";
    case OpKind::kCorrectAttnOut:
      return "correct_attn_out";
    case OpKind::kQuantizeFp8:
      return "quantize_fp8";
  }
  return "?";
}

absl::Status Queue::CopyFromHost(uint64_t destination, absl::Span<const uint8_t> source) {
  RETURN_IF_ERROR(allocations_->Check(destination, static_cast<int64_t>(source.size())));
  return source.empty() ? absl::OkStatus() : DoCopyFromHost(destination, source);
}

absl::Status Queue::CopyToHost(absl::Span<uint8_t> destination, uint64_t source) {
  RETURN_IF_ERROR(allocations_->Check(source, static_cast<int64_t>(destination.size())));
  return destination.empty() ? absl::OkStatus() : DoCopyToHost(destination, source);
}

absl::Status Queue::Copy(uint64_t destination, uint64_t source, int64_t bytes) {
  if (bytes < 0) return Invalid("copy: ", bytes, " bytes");
  RETURN_IF_ERROR(allocations_->Check(destination, bytes));
  RETURN_IF_ERROR(allocations_->Check(source, bytes));
  if (Overlap(destination, source, bytes)) {
    return Invalid("copy: source and destination overlap");
  }
  return bytes == 0 ? absl::OkStatus() : DoCopy(destination, source, bytes);
}

absl::Status Queue::Fill(uint64_t destination, int64_t bytes, uint32_t pattern) {
  if (bytes < 0 || bytes % 4 != 0 || destination % 4 != 0) {
    return Invalid("fill: ", bytes, " bytes at 0x", absl::Hex(destination),
                   ", both must be multiples of 4");
  }
  RETURN_IF_ERROR(allocations_->Check(destination, bytes));
  return bytes == 0 ? absl::OkStatus() : DoFill(destination, bytes, pattern);
}

absl::Status Queue::CheckReshapeAndCache(const ReshapeAndCacheArgs& args) const {
  const ViewCheck check = {*allocations_, device_};
  const KvCacheLayout& layout = args.cache.layout();
  RETURN_IF_ERROR(check.Cache("reshape_and_cache: cache", args.cache));
  RETURN_IF_ERROR(check.Table("reshape_and_cache: slots", args.slots, DType::kI64, 0));
  const int64_t rows = args.slots.extent(0);
  // An fp8 cache takes rows of any float type and quantises them; others are copied.
  const DType dtype = IsFp8(layout.dtype()) && args.key.given() && IsFloat(args.key.dtype())
                          ? args.key.dtype()
                          : layout.dtype();
  RETURN_IF_ERROR(check.Rows("reshape_and_cache: key", args.key, dtype, rows, layout.num_kv_heads(),
                             layout.head_size()));
  RETURN_IF_ERROR(check.Rows("reshape_and_cache: value", args.value, dtype, rows,
                             layout.num_kv_heads(), layout.head_size()));
  for (const auto& [name, scales] : {std::pair("reshape_and_cache: k_scales", &args.k_scales),
                                     std::pair("reshape_and_cache: v_scales", &args.v_scales)}) {
    RETURN_IF_ERROR(check.OptionalFloats(name, *scales, layout.num_kv_heads()));
    if (scales->given() && dtype == layout.dtype()) {
      return Invalid(name, " are given, but ", Name(dtype), " rows are copied into a ",
                     Name(layout.dtype()), " cache as they are");
    }
    RETURN_IF_ERROR(CheckDisjointFromCache(name, *scales, args.cache));
  }
  RETURN_IF_ERROR(CheckDisjointFromCache("reshape_and_cache: key", args.key, args.cache));
  RETURN_IF_ERROR(CheckDisjointFromCache("reshape_and_cache: value", args.value, args.cache));
  return CheckDisjointFromCache("reshape_and_cache: slots", args.slots, args.cache);
}

absl::Status Queue::ReshapeAndCache(const ReshapeAndCacheArgs& args) {
  RETURN_IF_ERROR(CheckReshapeAndCache(args));
  return args.slots.empty() ? absl::OkStatus() : DoReshapeAndCache(args);
}

absl::Status Queue::CheckAttention(const AttentionArgs& args) const {
  const ViewCheck check = {*allocations_, device_};
  if (args.prepared == nullptr) return Invalid("attention: no prepared kernels");
  if (args.prepared->device() != device_) {
    return absl::FailedPreconditionError(
        absl::StrCat("attention: prepared for ", ToString(args.prepared->device()),
                     ", the queue's device is ", ToString(device_)));
  }
  if (&args.prepared->allocations() != allocations_) {
    return absl::FailedPreconditionError(
        absl::StrCat("attention: prepared by another backend object of ", ToString(device_),
                     " than the queue's"));
  }
  if (args.num_rows < 0) return Invalid("attention: ", args.num_rows, " rows");
  const AttentionSpec& spec = args.prepared->spec();
  RETURN_IF_ERROR(CheckAttentionTables(check, args));
  RETURN_IF_ERROR(CheckHeadValues(spec, args.head_values));
  for (const auto& [name, view] :
       {std::pair("attention: ALiBi slopes", &args.head_values.alibi_slopes),
        std::pair("attention: sinks", &args.head_values.sinks),
        std::pair("attention: k_scales", &args.head_values.k_scales),
        std::pair("attention: v_scales", &args.head_values.v_scales)}) {
    if (view->given()) RETURN_IF_ERROR(check.Memory(name, *view));
  }
  if (args.tables.tiles.empty() && args.tables.decode_rows.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(check.Cache("attention: cache", args.cache));
  if (args.cache.layout().fingerprint() != args.prepared->layout().fingerprint()) {
    return absl::FailedPreconditionError(
        absl::StrCat("attention: cache is ", args.cache.layout().ToString(), ", prepared for ",
                     args.prepared->layout().ToString()));
  }
  RETURN_IF_ERROR(check.Rows("attention: query", args.query, spec.query_dtype(), args.num_rows,
                             spec.num_heads, spec.head_size));
  RETURN_IF_ERROR(check.Rows("attention: out", args.out, spec.output_dtype(), args.num_rows,
                             spec.num_heads, spec.head_size));
  RETURN_IF_ERROR(CheckDisjoint("attention: out", args.out, "query", args.query));
  RETURN_IF_ERROR(CheckDisjointFromCache("attention: out", args.out, args.cache));
  if (args.lse.given()) {
    RETURN_IF_ERROR(check.Lse("attention: lse", args.lse, args.num_rows, spec.num_heads));
    RETURN_IF_ERROR(CheckDisjoint("attention: lse", args.lse, "query", args.query));
    RETURN_IF_ERROR(CheckDisjoint("attention: lse", args.lse, "out", args.out));
    RETURN_IF_ERROR(CheckDisjointFromCache("attention: lse", args.lse, args.cache));
  }
  return absl::OkStatus();
}

absl::Status Queue::Attention(const AttentionArgs& args) {
  RETURN_IF_ERROR(CheckAttention(args));
  return args.tables.tiles.empty() && args.tables.decode_rows.empty() ? absl::OkStatus()
                                                                      : DoAttention(args);
}

absl::Status Queue::GatherRows(const GatherRowsArgs& args) {
  const ViewCheck check = {*allocations_, device_};
  RETURN_IF_ERROR(check.Table("gather_rows: index", args.index, DType::kI64, 0));
  RETURN_IF_ERROR(check.Memory("gather_rows: source", args.source));
  RETURN_IF_ERROR(check.Memory("gather_rows: destination", args.destination));
  const TensorView& source = args.source;
  const TensorView& destination = args.destination;
  bool alike = source.rank() == destination.rank() && source.dtype() == destination.dtype() &&
               destination.extent(0) == args.index.extent(0);
  for (int axis = 1; alike && axis < source.rank(); ++axis)
    alike = source.extent(axis) == destination.extent(axis);
  if (!alike) {
    return Invalid("gather_rows: destination is ", destination.ToString(), " for ",
                   args.index.extent(0), " indices into ", source.ToString());
  }
  for (const TensorView* view : {&source, &destination}) {
    int64_t expected = 1;
    for (int axis = view->rank(); axis-- > 1;) {
      if (view->extent(axis) != 1 && view->stride(axis) != expected) {
        return Invalid("gather_rows: a row of ", view->ToString(), " has gaps, along axis ", axis);
      }
      expected *= view->extent(axis);
    }
    if (view == &destination && view->extent(0) > 1 && view->stride(0) < expected) {
      return Invalid("gather_rows: destination rows overlap, stride ", view->stride(0), " for ",
                     expected, " elements");
    }
  }
  RETURN_IF_ERROR(CheckDisjoint("gather_rows: destination", destination, "source", source));
  RETURN_IF_ERROR(CheckDisjoint("gather_rows: destination", destination, "index", args.index));
  return destination.empty() ? absl::OkStatus() : DoGatherRows(args);
}

absl::Status Queue::CheckMergeStates(const MergeStatesArgs& args) const {
  const ViewCheck check = {*allocations_, device_};
  if (!args.a.given() || args.a.rank() != 3) {
    return Invalid("merge_states: a is ", args.a.ToString(), ", must be [rows, heads, head_size]");
  }
  const int64_t rows = args.a.extent(0), heads = args.a.extent(1), head_size = args.a.extent(2);
  if (!IsFloat(args.a.dtype())) {
    return Invalid("merge_states: a is ", args.a.ToString(), ", must be f32, f16 or bf16");
  }
  const DType out_dtype = args.out.dtype();
  if (args.out.given() && !IsFloat(out_dtype) && out_dtype != DType::kF8E4M3) {
    return Invalid("merge_states: out is ", args.out.ToString(),
                   ", must be f32, f16, bf16 or f8e4m3");
  }
  RETURN_IF_ERROR(check.Rows("merge_states: a", args.a, args.a.dtype(), rows, heads, head_size));
  RETURN_IF_ERROR(check.Rows("merge_states: b", args.b, args.a.dtype(), rows, heads, head_size));
  RETURN_IF_ERROR(check.Rows("merge_states: out", args.out, out_dtype, rows, heads, head_size));
  RETURN_IF_ERROR(check.Lse("merge_states: a_lse", args.a_lse, rows, heads));
  RETURN_IF_ERROR(check.Lse("merge_states: b_lse", args.b_lse, rows, heads));
  RETURN_IF_ERROR(check.OptionalFloats("merge_states: sinks", args.sinks, heads));
  RETURN_IF_ERROR(CheckOutScale("merge_states", args.out_scale, out_dtype));
  RETURN_IF_ERROR(CheckNoOverlapInside("merge_states: out", args.out));
  for (const auto& [name, view] : {std::pair("a_lse", &args.a_lse), std::pair("b_lse", &args.b_lse),
                                   std::pair("sinks", &args.sinks)}) {
    RETURN_IF_ERROR(CheckDisjoint("merge_states: out", args.out, name, *view));
  }
  RETURN_IF_ERROR(CheckDisjointOrSame("merge_states: out", args.out, "a", args.a));
  RETURN_IF_ERROR(CheckDisjointOrSame("merge_states: out", args.out, "b", args.b));
  if (!args.lse.given()) return absl::OkStatus();
  RETURN_IF_ERROR(check.Lse("merge_states: lse", args.lse, rows, heads));
  RETURN_IF_ERROR(CheckNoOverlapInside("merge_states: lse", args.lse));
  for (const auto& [name, view] : {std::pair("a", &args.a), std::pair("b", &args.b),
                                   std::pair("out", &args.out), std::pair("sinks", &args.sinks)}) {
    RETURN_IF_ERROR(CheckDisjoint("merge_states: lse", args.lse, name, *view));
  }
  RETURN_IF_ERROR(CheckDisjointOrSame("merge_states: lse", args.lse, "a_lse", args.a_lse));
  return CheckDisjointOrSame("merge_states: lse", args.lse, "b_lse", args.b_lse);
}

absl::Status Queue::MergeStates(const MergeStatesArgs& args) {
  RETURN_IF_ERROR(CheckMergeStates(args));
  return args.a.empty() ? absl::OkStatus() : DoMergeStates(args);
}

absl::Status Queue::CheckCorrectAttnOut(const CorrectAttnOutArgs& args) const {
  const ViewCheck check = {*allocations_, device_};
  const TensorView& out = args.out;
  if (out.rank() != 3 || !IsFloat(out.dtype())) {
    return Invalid("correct_attn_out: out is ", out.ToString(),
                   ", must be f32, f16 or bf16 [rows, heads, head_size]");
  }
  const int64_t rows = out.extent(0), heads = out.extent(1);
  const TensorView& lses = args.lses;
  if (lses.rank() != 3 || lses.dtype() != DType::kF32 || lses.extent(0) < 1 ||
      lses.extent(1) != rows || lses.extent(2) != heads) {
    return Invalid("correct_attn_out: lses is ", lses.ToString(), ", must be f32[>= 1, ", rows,
                   ", ", heads, "]");
  }
  if (args.rank < 0 || args.rank >= lses.extent(0)) {
    return Invalid("correct_attn_out: rank ", args.rank, " of ", lses.extent(0), " LSEs");
  }
  const TensorView& corrected = args.corrected;
  if (corrected.rank() != 3 || corrected.dtype() != out.dtype() || corrected.extent(0) != rows ||
      corrected.extent(1) != heads || corrected.extent(2) != out.extent(2)) {
    return Invalid("correct_attn_out: corrected is ", corrected.ToString(), " for ",
                   out.ToString());
  }
  RETURN_IF_ERROR(check.Memory("correct_attn_out: out", out));
  RETURN_IF_ERROR(check.Memory("correct_attn_out: lses", lses));
  RETURN_IF_ERROR(check.Memory("correct_attn_out: corrected", corrected));
  RETURN_IF_ERROR(check.OptionalFloats("correct_attn_out: sinks", args.sinks, heads));
  RETURN_IF_ERROR(CheckNoOverlapInside("correct_attn_out: corrected", corrected));
  RETURN_IF_ERROR(CheckDisjointOrSame("correct_attn_out: corrected", corrected, "out", out));
  RETURN_IF_ERROR(CheckDisjoint("correct_attn_out: corrected", corrected, "lses", lses));
  RETURN_IF_ERROR(CheckDisjoint("correct_attn_out: corrected", corrected, "sinks", args.sinks));
  if (!args.lse.given()) return absl::OkStatus();
  RETURN_IF_ERROR(check.Lse("correct_attn_out: lse", args.lse, rows, heads));
  RETURN_IF_ERROR(CheckNoOverlapInside("correct_attn_out: lse", args.lse));
  for (const auto& [name, view] :
       {std::pair("out", &out), std::pair("lses", &lses), std::pair("corrected", &corrected),
        std::pair("sinks", &args.sinks)}) {
    RETURN_IF_ERROR(CheckDisjoint("correct_attn_out: lse", args.lse, name, *view));
  }
  return absl::OkStatus();
}

absl::Status Queue::CorrectAttnOut(const CorrectAttnOutArgs& args) {
  RETURN_IF_ERROR(CheckCorrectAttnOut(args));
  const bool nothing = args.lses.empty();
  return nothing ? absl::OkStatus() : DoCorrectAttnOut(args);
}

absl::Status Queue::QuantizeFp8(const QuantizeFp8Args& args) {
  const ViewCheck check = {*allocations_, device_};
  const TensorView& source = args.source;
  const TensorView& destination = args.destination;
  if (source.rank() != 3 || !IsFloat(source.dtype())) {
    return Invalid("quantize_fp8: source is ", source.ToString(),
                   ", must be f32, f16 or bf16 [rows, heads, head_size]");
  }
  if (!destination.given() || !IsFp8(destination.dtype()) ||
      destination.extent(0) != source.extent(0)) {
    return Invalid("quantize_fp8: destination is ", destination.ToString(),
                   ", must be f8e4m3 or f8e5m2[", source.extent(0), ", ", source.extent(1), ", ",
                   source.extent(2), "]");
  }
  const int64_t rows = source.extent(0), heads = source.extent(1), head_size = source.extent(2);
  RETURN_IF_ERROR(
      check.Rows("quantize_fp8: source", source, source.dtype(), rows, heads, head_size));
  RETURN_IF_ERROR(check.Rows("quantize_fp8: destination", destination, destination.dtype(), rows,
                             heads, head_size));
  RETURN_IF_ERROR(CheckOutScale("quantize_fp8", args.scale, destination.dtype()));
  RETURN_IF_ERROR(check.OptionalFloats("quantize_fp8: head_scales", args.head_scales, heads));
  RETURN_IF_ERROR(CheckNoOverlapInside("quantize_fp8: destination", destination));
  RETURN_IF_ERROR(CheckDisjoint("quantize_fp8: destination", destination, "source", source));
  RETURN_IF_ERROR(
      CheckDisjoint("quantize_fp8: destination", destination, "head_scales", args.head_scales));
  return source.empty() ? absl::OkStatus() : DoQuantizeFp8(args);
}

}  // namespace weft
