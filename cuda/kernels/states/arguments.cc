// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/states/arguments.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/divisor.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/head_places.h"
#include "cuda/kernels/places_of.h"
#include "cuda/kernels/row_groups.h"

namespace weft::cuda {
namespace {

absl::StatusOr<StateShape> ShapeOf(std::string_view operation, const TensorView& rows,
                                   const TensorView& sinks) {
  if (rows.extent(1) > kMaxItems || rows.extent(2) > kMaxItems) {
    return absl::OutOfRangeError(absl::StrCat(operation, ": ", rows.ToString(),
                                              ", more heads or dimensions than 31 bits count"));
  }
  StateShape shape = {};
  shape.rows = rows.extent(0);
  shape.heads = static_cast<uint32_t>(rows.extent(1));
  shape.by_heads = MakeDivisor(shape.heads);
  shape.type = ToElementType(rows.dtype());
  shape.sinks = sinks.address();
  return shape;
}

// Once it is known whether vectors are `whole`.
void SetVectors(StateShape& shape, bool whole, int64_t head_size, int in_flight) {
  shape.whole = whole;
  shape.vectors = static_cast<uint32_t>(whole ? head_size * ElementBytes(shape.type) / kVectorBytes
                                              : head_size);
  shape.lanes_log2 = LanesLog2(shape.vectors, in_flight);
}

}  // namespace

absl::StatusOr<MergeStatesParams> MapMergeStates(const MergeStatesArgs& args) {
  MergeStatesParams p = {};
  ASSIGN_OR_RETURN(p.shape, ShapeOf("merge_states", args.a, args.sinks));
  const int64_t rows = p.shape.rows, head_size = args.a.extent(2);
  p.a = PlacesOf(args.a, rows);
  p.a_lse = PlacesOf(args.a_lse, rows);
  p.b = PlacesOf(args.b, rows);
  p.b_lse = PlacesOf(args.b_lse, rows);
  p.out = PlacesOf(args.out, rows);
  p.lse = PlacesOf(args.lse, rows);
  p.out_type = ToElementType(args.out.dtype());
  p.inverse_out_scale = 1.0f / args.out_scale;
  const int64_t count = kVectorBytes / ElementBytes(p.shape.type);
  const int64_t out_bytes = std::min(kVectorBytes, count * ElementBytes(p.out_type));
  const bool whole = head_size % count == 0 && IsAligned(p.a, kVectorBytes) &&
                     IsAligned(p.b, kVectorBytes) && IsAligned(p.out, out_bytes);
  SetVectors(p.shape, whole, head_size, kMergeVectorsInFlight);
  return p;
}

absl::StatusOr<CorrectAttnOutParams> MapCorrectAttnOut(const CorrectAttnOutArgs& args) {
  const TensorView& lses = args.lses;
  CorrectAttnOutParams p = {};
  ASSIGN_OR_RETURN(p.shape, ShapeOf("correct_attn_out", args.out, args.sinks));
  if (lses.extent(0) > kMaxItems) {
    return absl::OutOfRangeError(
        absl::StrCat("correct_attn_out: ", lses.extent(0), " ranks, more than 31 bits count"));
  }
  const int64_t rows = p.shape.rows, head_size = args.out.extent(2);
  const int64_t element = ElementBytes(p.shape.type);
  p.out = PlacesOf(args.out, rows);
  p.corrected = PlacesOf(args.corrected, rows);
  p.out_vector_stride = StrideBytes(head_size, args.out.stride(2), element);
  p.corrected_vector_stride = StrideBytes(head_size, args.corrected.stride(2), element);
  p.lses = {lses.address(), StrideBytes(rows, lses.stride(1), sizeof(float)),
            StrideBytes(lses.extent(2), lses.stride(2), sizeof(float))};
  p.lses_rank_stride = StrideBytes(lses.extent(0), lses.stride(0), sizeof(float));
  p.lse = PlacesOf(args.lse, rows);
  p.ranks = static_cast<int32_t>(lses.extent(0));
  p.rank = static_cast<int32_t>(args.rank);
  p.base2 = args.base == LseBase::k2;
  const bool whole = head_size * element % kVectorBytes == 0 && p.out_vector_stride == element &&
                     p.corrected_vector_stride == element && IsAligned(p.out, kVectorBytes) &&
                     IsAligned(p.corrected, kVectorBytes);
  if (whole) p.out_vector_stride = p.corrected_vector_stride = kVectorBytes;
  SetVectors(p.shape, whole, head_size, kCorrectVectorsInFlight);
  return p;
}

}  // namespace weft::cuda
