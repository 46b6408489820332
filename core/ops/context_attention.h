// SPDX-License-Identifier: Apache-2.0
//
// ContextAttention: rows of a chunk over the chunk's own keys, fresh from the projection, and the
// context that a paged cache holds (seed 003, context_attention_fwd). The new tokens need not be in
// the cache; an fp8 cache does not round them.
//
// The context is attended to in one operation and the chunk in another, both into f32 states that
// are merged at the end, where sinks join once and the output is quantised.
#ifndef WEFT_CORE_OPS_CONTEXT_ATTENTION_H_
#define WEFT_CORE_OPS_CONTEXT_ATTENTION_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_layer.h"
#include "core/backend.h"
#include "core/head_value_buffer.h"
#include "core/ops/step_arrays.h"
#include "core/pcp_partition.h"
#include "core/queue.h"

namespace weft {

// Element strides of the chunk's key and value tensors; 0: without gaps.
struct ChunkStrides {
  int64_t key_row = 0;
  int64_t key_head = 0;
  int64_t value_row = 0;
  int64_t value_head = 0;
};

struct ContextAttentionOptions {
  ChunkStrides strides;
  // The seed's skip_decode: kPrefills leaves rows of decodes untouched.
  RowScope rows = RowScope::kAll;
};

struct ContextAttentionIo {
  TensorView query;  // [>= rows, num_heads, head_size]
  TensorView key;    // [>= rows, num_kv_heads, head_size], spec.dtype, of the strides at creation;
                     // with PCP the all-gathered rows of all ranks, rank-major
  TensorView value;
  TensorView out;     // [>= rows, num_heads, head_size], spec.output_dtype()
  TensorView lse;     // f32 [>= rows, num_heads], without the sink; or not given
  KvCacheView cache;  // not looked at behind the context
};

// One thread at a time, one queue: its tables and states are overwritten by each step.
class ContextAttention {
 public:
  // Slow; allocates all that calls need: tables, and two f32 states of limits.max_rows rows. The
  // errors of AttentionLayer::Create and Allocate. UNIMPLEMENTED: an fp8 query.
  static absl::StatusOr<std::unique_ptr<ContextAttention>> Create(
      std::shared_ptr<Backend> backend, const AttentionSpec& spec, const KvCacheLayout& layout,
      const OpLimits& limits, const ContextAttentionOptions& options = {});

  // Takes a step on: plans, and records the copies of the tables. `metadata` is of the cache's
  // layout. The errors of Plan::Build; RESOURCE_EXHAUSTED: over a limit. FAILED_PRECONDITION:
  // another layout; a DCP shard (its states are to be merged over the ranks first). Nothing is
  // recorded then.
  absl::Status Update(Queue& queue, const AttentionMetadata& metadata,
                      const PcpPartition* partition = nullptr, int64_t rank = 0);
  // The same from arrays; requests of one new token are decodes.
  absl::Status Update(Queue& queue, const StepArrays& arrays, const KvCacheView& cache);

  // Attends for the step of the last Update. Records only: never allocates, never waits. Everything
  // is checked before anything is recorded. FAILED_PRECONDITION: no step yet.
  absl::Status Attend(Queue& queue, const ContextAttentionIo& io) const;

  // Both: one call of the seed's.
  absl::Status Run(Queue& queue, const StepArrays& arrays, const ContextAttentionIo& io);

 private:
  // Rows [begin, end) that a plan names.
  struct RowRun {
    int64_t begin = 0;
    int64_t end = 0;
  };
  // The result of attention over a part of the keys: f32 [rows, heads, size] and its LSE.
  struct State {
    TensorView out;
    TensorView lse;
  };
  struct Part {
    AttentionLayer layer;
    std::unique_ptr<StepBuffers> step;
    std::unique_ptr<Buffer> memory;
  };

  ContextAttention(const AttentionSpec& spec, const ContextAttentionOptions& options,
                   int64_t max_rows, Part context, Part chunk,
                   std::shared_ptr<const HeadValueBuffer> sinks)
      : spec_(spec),
        options_(options),
        max_rows_(max_rows),
        context_(std::move(context)),
        chunk_(std::move(chunk)),
        sinks_(std::move(sinks)) {}

  static absl::StatusOr<Part> MakePart(const std::shared_ptr<Backend>& backend,
                                       const AttentionSpec& spec, const KvCacheLayout& layout,
                                       const StepLimits& limits, int64_t max_rows);
  static std::vector<RowRun> NamedRows(const Plan& plan);
  absl::StatusOr<State> StateOf(const Part& part, const RowRun& rows) const;
  absl::Status CheckChunk(const Queue& queue, const ContextAttentionIo& io, int64_t key_rows) const;
  absl::Status CheckAll(const Queue& queue, const ContextAttentionIo& io, int64_t rows,
                        int64_t key_rows) const;
  absl::Status AttendPart(Queue& queue, const Part& part, const TensorView& query,
                          const KvCacheView& keys) const;
  absl::Status Merge(Queue& queue, const ContextAttentionIo& io, const RowRun& rows) const;

  AttentionSpec spec_;
  ContextAttentionOptions options_;
  int64_t max_rows_;
  Part context_;
  Part chunk_;
  std::shared_ptr<const HeadValueBuffer> sinks_;
  std::vector<RowRun> rows_;  // of the step
};

}  // namespace weft

#endif  // WEFT_CORE_OPS_CONTEXT_ATTENTION_H_
