// SPDX-License-Identifier: Apache-2.0
//
// The operations that put the parts of a softmax together: MergeStates and CorrectAttnOut.
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "vulkan/ops/grid.h"
#include "vulkan/ops/ops.h"
#include "vulkan/ops/params.h"
#include "vulkan/ops/segments.h"
#include "vulkan/ops/shader_dtype.h"

namespace weft::vulkan {
namespace {

StateParams MakeState(const TensorView& rows, const TensorView& lse) {
  const uint64_t element = SizeOf(rows.dtype());
  StateParams state;
  state.rows = rows.address();
  state.row_stride = rows.stride(0) * element;
  state.head_stride = rows.stride(1) * element;
  if (!lse.given()) return state;
  state.lse = lse.address();
  state.lse_row_stride = lse.stride(0) * sizeof(float);
  state.lse_head_stride = lse.stride(1) * sizeof(float);
  return state;
}

// A workgroup for each (row, head).
absl::StatusOr<std::array<uint32_t, 3>> Grid(const DeviceLimits& limits, const TensorView& rows,
                                             std::string_view operation) {
  const int64_t bound = std::numeric_limits<int32_t>::max();
  for (int axis = 0; axis < 3; ++axis) {
    if (rows.extent(axis) <= bound) continue;
    return absl::OutOfRangeError(
        absl::StrCat(operation, ": ", rows.ToString(), ", more than 31 bits count"));
  }
  return FoldGrid(limits, rows.extent(0) * rows.extent(1), operation);
}

}  // namespace

absl::Status RecordMergeStates(Recorder& recorder, const OperationKernels& kernels,
                               const MergeStatesArgs& args) {
  MergeStatesParams params;
  params.a = MakeState(args.a, args.a_lse);
  params.b = MakeState(args.b, args.b_lse);
  params.merged = MakeState(args.out, args.lse);
  params.sinks = args.sinks.address();
  // What is merged is what a holds; the others may hold more rows.
  params.rows = static_cast<uint32_t>(args.a.extent(0));
  params.heads = static_cast<uint32_t>(args.a.extent(1));
  params.head_size = static_cast<uint32_t>(args.a.extent(2));
  params.dtype = ShaderDType(args.a.dtype());
  params.out_dtype = ShaderDType(args.out.dtype());
  params.inverse_out_scale = 1.0f / args.out_scale;
  ASSIGN_OR_RETURN(const auto groups, Grid(recorder.device().limits(), args.a, "merge_states"));
  std::vector<Access> accesses = {Reads(args.a), Reads(args.a_lse), Reads(args.b),
                                  Reads(args.b_lse), Writes(args.out)};
  if (args.lse.given()) accesses.push_back(Writes(args.lse));
  if (args.sinks.given()) accesses.push_back(Reads(args.sinks));
  return recorder.Dispatch(*kernels.merge_states, ParamBytes(params), groups, accesses);
}

absl::Status RecordCorrectAttnOut(Recorder& recorder, const OperationKernels& kernels,
                                  const CorrectAttnOutArgs& args) {
  const TensorView& out = args.out;
  const TensorView& corrected = args.corrected;
  const uint64_t element = SizeOf(out.dtype());
  CorrectAttnOutParams params;
  params.source = out.address();
  params.source_row_stride = out.stride(0) * element;
  params.source_head_stride = out.stride(1) * element;
  params.source_dim_stride = out.stride(2) * element;
  params.corrected = corrected.address();
  params.corrected_row_stride = corrected.stride(0) * element;
  params.corrected_head_stride = corrected.stride(1) * element;
  params.corrected_dim_stride = corrected.stride(2) * element;
  params.lses = args.lses.address();
  params.lses_rank_stride = args.lses.stride(0) * sizeof(float);
  params.lses_row_stride = args.lses.stride(1) * sizeof(float);
  params.lses_head_stride = args.lses.stride(2) * sizeof(float);
  if (args.lse.given()) {
    params.lse = args.lse.address();
    params.lse_row_stride = args.lse.stride(0) * sizeof(float);
    params.lse_head_stride = args.lse.stride(1) * sizeof(float);
  }
  params.sinks = args.sinks.address();
  params.rows = static_cast<uint32_t>(out.extent(0));
  params.heads = static_cast<uint32_t>(out.extent(1));
  params.head_size = static_cast<uint32_t>(out.extent(2));
  params.ranks = static_cast<uint32_t>(args.lses.extent(0));
  params.rank = static_cast<uint32_t>(args.rank);
  params.dtype = ShaderDType(out.dtype());
  params.base2 = args.base == LseBase::k2 ? 1 : 0;
  if (args.lses.extent(0) > std::numeric_limits<int32_t>::max()) {
    return absl::OutOfRangeError(
        absl::StrCat("correct_attn_out: ", args.lses.extent(0), " ranks, more than 31 bits count"));
  }
  ASSIGN_OR_RETURN(const auto groups, Grid(recorder.device().limits(), out, "correct_attn_out"));
  std::vector<Access> accesses = {Reads(args.lses)};
  // Nothing is read or written of a view without elements.
  if (!out.empty()) accesses.insert(accesses.end(), {Reads(out), Writes(corrected)});
  if (args.lse.given()) accesses.push_back(Writes(args.lse));
  if (args.sinks.given()) accesses.push_back(Reads(args.sinks));
  return recorder.Dispatch(*kernels.correct_attn_out, ParamBytes(params), groups, accesses);
}

}  // namespace weft::vulkan
