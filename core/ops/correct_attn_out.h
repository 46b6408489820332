// SPDX-License-Identifier: Apache-2.0
//
// CorrectAttnOut: the seeds' free function (000 and 001, correct_attn_out) over
// Queue::CorrectAttnOut, which says what is computed. Here: the shapes that the seeds let pass.
#ifndef WEFT_CORE_OPS_CORRECT_ATTN_OUT_H_
#define WEFT_CORE_OPS_CORRECT_ATTN_OUT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

struct CorrectAttnOutOptions {
  LseBase base = LseBase::kE;  // of lses and lse
  TensorView sinks;            // contiguous f32 [H], natural log, or not given
  TensorView corrected;        // shaped as `out`; not given: in place, as the seed
};

// Corrects `out` of rank `cp_rank` by the all-gathered `lses`, and writes the LSE over all ranks to
// `lse` (not given: not wanted). Records one operation.
//   out   [B, H, D], or [B, 1, H, D]: f32, f16 or bf16, any strides
//   lses  f32 [N, B, H], or [N, B, H, 1], or [N, 1, B, H], any strides
//   lse   f32 [B, H], any strides
// Where both readings of a four-dimensional `lses` fit, the shape of `out` decides; if that does
// not either, they are the same numbers. INVALID_ARGUMENT: any other shape; the errors of
// Queue::CorrectAttnOut.
absl::Status CorrectAttnOut(Queue& queue, const TensorView& out, const TensorView& lses,
                            int64_t cp_rank, const TensorView& lse,
                            const CorrectAttnOutOptions& options = {});

}  // namespace weft

#endif  // WEFT_CORE_OPS_CORRECT_ATTN_OUT_H_
