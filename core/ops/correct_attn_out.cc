// SPDX-License-Identifier: Apache-2.0
#include "core/ops/correct_attn_out.h"

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft {
namespace {

absl::StatusOr<TensorView> DropAxis(const TensorView& view, int dropped) {
  std::vector<int64_t> extents, strides;
  for (int axis = 0; axis < view.rank(); ++axis) {
    if (axis == dropped) continue;
    extents.push_back(view.extent(axis));
    strides.push_back(view.stride(axis));
  }
  return TensorView::Create(view.address(), view.dtype(), extents, strides, view.device());
}

// [B, H, D] of [B, H, D] or [B, 1, H, D].
absl::StatusOr<TensorView> Output(std::string_view name, const TensorView& view) {
  if (view.rank() == 3) return view;
  if (view.rank() == 4 && view.extent(1) == 1) return DropAxis(view, 1);
  return absl::InvalidArgumentError(absl::StrCat(
      "correct_attn_out: ", name, " is ", view.ToString(), ", must be [B, H, D] or [B, 1, H, D]"));
}

// [N, B, H] of [N, B, H], [N, B, H, 1] or [N, 1, B, H].
absl::StatusOr<TensorView> Lses(const TensorView& view, int64_t rows, int64_t heads) {
  if (view.rank() == 3) return view;
  if (view.rank() == 4) {
    if (view.extent(3) == 1 && view.extent(1) == rows && view.extent(2) == heads)
      return DropAxis(view, 3);
    if (view.extent(1) == 1 && view.extent(2) == rows && view.extent(3) == heads)
      return DropAxis(view, 1);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("correct_attn_out: lses is ", view.ToString(), ", must be [N, ", rows, ", ",
                   heads, "], [N, ", rows, ", ", heads, ", 1] or [N, 1, ", rows, ", ", heads, "]"));
}

}  // namespace

absl::Status CorrectAttnOut(Queue& queue, const TensorView& out, const TensorView& lses,
                            int64_t cp_rank, const TensorView& lse,
                            const CorrectAttnOutOptions& options) {
  CorrectAttnOutArgs args;
  ASSIGN_OR_RETURN(args.out, Output("out", out));
  ASSIGN_OR_RETURN(args.lses, Lses(lses, args.out.extent(0), args.out.extent(1)));
  args.corrected = args.out;
  if (options.corrected.given()) {
    ASSIGN_OR_RETURN(args.corrected, Output("corrected", options.corrected));
  }
  args.rank = cp_rank;
  args.lse = lse;
  args.sinks = options.sinks;
  args.base = options.base;
  return queue.CorrectAttnOut(args);
}

}  // namespace weft
