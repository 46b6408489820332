// SPDX-License-Identifier: Apache-2.0
//
// AttentionLayer: attention of one layer (or of many alike) on one device. What an engine holds.
//
//   ASSIGN_OR_RETURN(auto backend, Registry::Default().Create("vulkan"));
//   ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(backend, spec, layout));      //
//   slow, once ASSIGN_OR_RETURN(auto step, StepBuffers::Create(backend, limits)); // once
//   // each step
//   ASSIGN_OR_RETURN(AttentionMetadata metadata, builder.Build(batch));
//   ASSIGN_OR_RETURN(auto plan, layer.MakePlan(metadata));
//   RETURN_IF_ERROR(step->Update(*queue, plan));
//   // each layer
//   RETURN_IF_ERROR(layer.Forward(*queue, *step, io));
//   RETURN_IF_ERROR(queue->Submit());
#ifndef WEFT_CORE_ATTENTION_LAYER_H_
#define WEFT_CORE_ATTENTION_LAYER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/attention_metadata.h"
#include "core/attention_spec.h"
#include "core/backend.h"
#include "core/head_value_buffer.h"
#include "core/pcp_partition.h"
#include "core/plan.h"
#include "core/queue.h"
#include "core/step_buffers.h"

namespace weft {

// The tensors of one call; the caller's memory.
struct AttentionIo {
  TensorView query;  // [>= plan rows, num_heads, head_size], spec.query_dtype()
  TensorView key;    // [>= plan slots, num_kv_heads, head_size]; with PCP the all-gathered rows of
                     // all ranks, rank-major
  TensorView value;
  TensorView out;  // as query, spec.output_dtype(); rows past the plan's are untouched
  TensorView lse;  // f32 [>= plan rows, num_heads], or not given
  KvCacheView cache;
  // Scales of a block-quantised output (seed 002, output_block_scale): refused, UNIMPLEMENTED.
  TensorView out_block_scale;
};

// Copyable, immutable, thread-safe; keeps the backend alive.
class AttentionLayer {
 public:
  // Slow: prepares kernels, uploads slopes, sinks and scales. The errors of Backend::Supports.
  static absl::StatusOr<AttentionLayer> Create(std::shared_ptr<Backend> backend,
                                               const AttentionSpec& spec,
                                               const KvCacheLayout& layout);

  // Host only. Holds for every layer whose fingerprint() is this one's. See Plan::Build for errors.
  // UNIMPLEMENTED: a common prefix (cascade attention).
  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const AttentionMetadata& metadata,
                                                       const PcpPartition* partition = nullptr,
                                                       int64_t rank = 0) const;
  // The same for a part of the keys or rows (core/plan.h). FAILED_PRECONDITION: metadata of another
  // cache layout; with KeyScope::kNew, a layer whose layout is not KvCacheLayout::Rows.
  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const AttentionMetadata& metadata,
                                                       const PlanOptions& options) const;

  // Writes key and value to the cache (ReshapeAndCache) unless the layer shares another's, then
  // attends (Attention). Records only: never allocates, never waits. FAILED_PRECONDITION: no plan
  // in `step`, or one of another kind of layer. The errors of the two operations. Everything is
  // checked before anything is recorded.
  absl::Status Forward(Queue& queue, const StepBuffers& step, const AttentionIo& io) const;

  // A profiling run (seed 002: a forward without metadata): the engine has no step yet and wants to
  // see what memory it takes. Checks the tensors that are there, records nothing, leaves the output
  // alone.
  absl::Status Forward(Queue& queue, const AttentionIo& io) const;

  // Forward without the write: the layer reads a cache that another one has written (KV sharing).
  // io.key and io.value are not looked at.
  absl::Status Attend(Queue& queue, const StepBuffers& step, const AttentionIo& io) const;

  const AttentionSpec& spec() const { return prepared_->spec(); }
  const KvCacheLayout& layout() const { return prepared_->layout(); }
  const PreparedAttention& prepared() const { return *prepared_; }
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  AttentionLayer(std::shared_ptr<Backend> backend,
                 std::shared_ptr<const PreparedAttention> prepared,
                 std::shared_ptr<const HeadValueBuffer> head_values);

  // The arguments of the attention operation, if `step` and the cache fit this layer.
  absl::StatusOr<AttentionArgs> Arguments(const StepBuffers& step, const AttentionIo& io) const;

  std::shared_ptr<Backend> backend_;
  std::shared_ptr<const PreparedAttention> prepared_;
  std::shared_ptr<const HeadValueBuffer> head_values_;
  uint64_t fingerprint_ = 0;
};

}  // namespace weft

#endif  // WEFT_CORE_ATTENTION_LAYER_H_
