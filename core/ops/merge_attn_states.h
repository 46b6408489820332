// SPDX-License-Identifier: Apache-2.0
//
// MergeAttnStates: two partial states of the same rows into one, with LSEs laid out [heads, tokens]
// as the kernels behind seeds 002 and 003 pass them. weft's own are [tokens, heads]: those go
// to Queue::MergeStates directly, which says what is computed.
#ifndef WEFT_CORE_OPS_MERGE_ATTN_STATES_H_
#define WEFT_CORE_OPS_MERGE_ATTN_STATES_H_

#include "absl/status/status.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

// prefix_output, suffix_output, output: [tokens, heads, head_size]. prefix_lse, suffix_lse and
// output_lse (may be not given): f32 [heads, tokens], any strides. Records one operation.
// INVALID_ARGUMENT: an LSE that is not two-dimensional; the errors of Queue::MergeStates.
absl::Status MergeAttnStates(Queue& queue, const TensorView& output,
                             const TensorView& prefix_output, const TensorView& prefix_lse,
                             const TensorView& suffix_output, const TensorView& suffix_lse,
                             const TensorView& output_lse = {});

}  // namespace weft

#endif  // WEFT_CORE_OPS_MERGE_ATTN_STATES_H_
