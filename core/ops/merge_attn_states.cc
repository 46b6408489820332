// SPDX-License-Identifier: Apache-2.0
#include "core/ops/merge_attn_states.h"

#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft {
namespace {

absl::StatusOr<TensorView> Transposed(std::string_view name, const TensorView& lse) {
  if (lse.rank() != 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "merge_attn_states: ", name, " is ",
        lse.given() ? lse.ToString() : std::string("not given"), ", must be f32[heads, tokens]"));
  }
  return TensorView::Create(lse.address(), lse.dtype(), {lse.extent(1), lse.extent(0)},
                            {lse.stride(1), lse.stride(0)}, lse.device());
}

}  // namespace

absl::Status MergeAttnStates(Queue& queue, const TensorView& output,
                             const TensorView& prefix_output, const TensorView& prefix_lse,
                             const TensorView& suffix_output, const TensorView& suffix_lse,
                             const TensorView& output_lse) {
  MergeStatesArgs args;
  args.a = prefix_output;
  args.b = suffix_output;
  args.out = output;
  ASSIGN_OR_RETURN(args.a_lse, Transposed("prefix_lse", prefix_lse));
  ASSIGN_OR_RETURN(args.b_lse, Transposed("suffix_lse", suffix_lse));
  if (output_lse.given()) {
    ASSIGN_OR_RETURN(args.lse, Transposed("output_lse", output_lse));
  }
  return queue.MergeStates(args);
}

}  // namespace weft
