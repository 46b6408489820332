// SPDX-License-Identifier: Apache-2.0
//
// CpLse: attention over keys that are spread over the ranks of a group (seeds 000 and 001,
// cp_lse_ag_out_rs and cp_lse_ag_out_ar; docs/pcp_spec.md, 8.3). Each rank brings the normalised
// state of its own keys; the LSEs are gathered, each rank weighs its output
// (Queue::CorrectAttnOut), and the sum over ranks is the softmax over all keys.
//
//   CpLseArgs args;
//   args.out = partial;                       // [B, H, D] of this rank's shard, from a partial
//   plan args.lse = partial_lse; if (plan->partial()) args.sinks = sinks;  // otherwise the
//   attention has applied them args.result = out;                        // [B, H / N, D]: this
//   rank's heads args.workspace = workspace; ASSIGN_OR_RETURN(CpLseResult merged,
//                    CpLseAllGatherReduceScatter(queue, communicator, args, deadline));
//
// Sums are taken over ranks 0, 1, ... in that order, in f32 (Communicator). With an f32 `out`
// nothing is rounded before the end: this is the way to a 16-bit result that does not depend on N
// by more than f32 does.
#ifndef WEFT_COLLECTIVES_CP_LSE_H_
#define WEFT_COLLECTIVES_CP_LSE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "collectives/communicator.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

struct CpLseArgs {
  TensorView out;  // [B, H, D], f32, f16 or bf16, any strides; all ranks alike. Read only, unless
                   // it is `result` too.
  TensorView lse;  // f32 [B, H], any strides
  LseBase base = LseBase::kE;  // of lse and result_lse
  // Contiguous f32 [H], natural log: joins the denominator once. Not the LSE.
  TensorView sinks;

  // Both or none, in host memory: rows of requests whose keys on this rank are none, and rows
  // behind the last request, count as empty whatever kernels have left there.
  absl::Span<const int32_t> seq_lens;         // [R]: keys on this rank
  absl::Span<const int32_t> query_start_loc;  // [R + 1]: rows

  // Contiguous; out's dtype, or of an f32 `out` f16, bf16 or f8e4m3.
  TensorView result;
  float result_scale = 1.0f;  // of an f8e4m3 result: stored = result / result_scale
  // f32, any strides: the LSE over all ranks' keys. Not given: not wanted (return_lse of the seed).
  TensorView result_lse;

  // Contiguous, u8, on a multiple of 256; CpLseWorkspaceBytes. Contents are of no interest.
  TensorView workspace;
};

// `out` is result, `lse` result_lse; or in a group of one, args.out and args.lse.
struct CpLseResult {
  TensorView out;
  TensorView lse;
};

// Enough for both operations. OUT_OF_RANGE: the product does not fit 63 bits.
absl::StatusOr<int64_t> CpLseWorkspaceBytes(int64_t world_size, int64_t rows, int64_t heads,
                                            int64_t head_size);

// Heads are handed back to their ranks: result [B, H / N, D] and result_lse [B, H / N] are heads
// [rank * H / N, (rank + 1) * H / N). N divides H. For queries that were gathered over heads.
//
// A group of one: the inputs, unchanged, without a copy or communication; unless sinks or another
// dtype are asked for.
//
// Blocks as Communicator's calls do; what follows the last of them is recorded. INVALID_ARGUMENT,
// OUT_OF_RANGE and RESOURCE_EXHAUSTED (a short workspace) are found before the first of them: this
// rank has not joined then. Errors of the communicator are the group's, and stay.
absl::StatusOr<CpLseResult> CpLseAllGatherReduceScatter(Queue& queue, Communicator& communicator,
                                                        const CpLseArgs& args, absl::Time deadline);

// The same where all ranks hold the same heads (DCP == PCP): result [B, H, D], result_lse [B, H].
// `result` may be `out`, as in the seed.
absl::StatusOr<CpLseResult> CpLseAllGatherAllReduce(Queue& queue, Communicator& communicator,
                                                    const CpLseArgs& args, absl::Time deadline);

// Before decode under DCP: the query rows of all heads of the group. local [B, h, D] -> all [B, N *
// h, D], head rank * h + i; any dtype, contiguous. workspace as above, of
// AllGatherHeadsWorkspaceBytes. Returns `all`, or in a group of one `local`, without a copy.
absl::StatusOr<TensorView> AllGatherHeads(Queue& queue, Communicator& communicator,
                                          const TensorView& local, const TensorView& all,
                                          const TensorView& workspace, absl::Time deadline);
absl::StatusOr<int64_t> AllGatherHeadsWorkspaceBytes(int64_t world_size, const TensorView& local);

}  // namespace weft

#endif  // WEFT_COLLECTIVES_CP_LSE_H_
