// SPDX-License-Identifier: Apache-2.0
//
// ChunkedPrefillPagedDecode: a mixed step in one call (seed 003, chunked_prefill_paged_decode):
// ContextAttention for requests of several new tokens, paged decode for those of one.
//
// As in the seed, the keys of rows of one token are read from the cache: they have been written
// there before. A request without new tokens has no rows, and touches no one else's.
#ifndef WEFT_CORE_OPS_CHUNKED_PREFILL_PAGED_DECODE_H_
#define WEFT_CORE_OPS_CHUNKED_PREFILL_PAGED_DECODE_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_layer.h"
#include "core/backend.h"
#include "core/ops/context_attention.h"
#include "core/ops/step_arrays.h"
#include "core/queue.h"

namespace weft {

// One thread at a time, one queue.
class ChunkedPrefillPagedDecode {
 public:
  // Slow; allocates all that calls need. The errors of ContextAttention::Create.
  static absl::StatusOr<std::unique_ptr<ChunkedPrefillPagedDecode>> Create(
      std::shared_ptr<Backend> backend, const AttentionSpec& spec, const KvCacheLayout& layout,
      const OpLimits& limits, const ChunkStrides& strides = {});

  // Takes a step on: validates, plans, and records the copies of the tables. Errors of
  // BuildStepMetadata; RESOURCE_EXHAUSTED: over a limit.
  absl::Status Update(Queue& queue, const StepArrays& arrays, const KvCacheView& cache);

  // Attends for the step of the last Update. Records only: never allocates, never waits. key and
  // value may be missing if no request has several new tokens. Everything is checked before
  // anything is recorded. FAILED_PRECONDITION: no step yet.
  absl::Status Attend(Queue& queue, const ContextAttentionIo& io) const;

  // Both: one call of the seed's.
  absl::Status Run(Queue& queue, const StepArrays& arrays, const ContextAttentionIo& io);

  // Of the rows of one token, after Update; null before.
  const Plan* decode_plan() const { return decode_step_->plan(); }

 private:
  ChunkedPrefillPagedDecode(std::unique_ptr<ContextAttention> prefill, AttentionLayer decode,
                            std::unique_ptr<StepBuffers> decode_step)
      : prefill_(std::move(prefill)),
        decode_(std::move(decode)),
        decode_step_(std::move(decode_step)) {}

  std::unique_ptr<ContextAttention> prefill_;
  AttentionLayer decode_;
  std::unique_ptr<StepBuffers> decode_step_;
};

}  // namespace weft

#endif  // WEFT_CORE_OPS_CHUNKED_PREFILL_PAGED_DECODE_H_
