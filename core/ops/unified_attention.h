// SPDX-License-Identifier: Apache-2.0
//
// UnifiedAttention: causal attention of a mixed batch over a paged cache that holds all keys, the
// new ones too (seed 002, unified_attention). What the seed passes in each call and what stays the
// same for a layer (scale, softcap, window, ALiBi slopes, sinks, k/v scales, fused fp8 output) is
// in the spec.
//
//   ASSIGN_OR_RETURN(auto attention, UnifiedAttention::Create(backend, spec, layout, limits));
//   RETURN_IF_ERROR(attention->Run(*queue, arrays, io));
#ifndef WEFT_CORE_OPS_UNIFIED_ATTENTION_H_
#define WEFT_CORE_OPS_UNIFIED_ATTENTION_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_layer.h"
#include "core/backend.h"
#include "core/ops/step_arrays.h"
#include "core/queue.h"

namespace weft {

// Where the seed takes its 3D kernel (keys split over workgroups) in place of the 2D one.
enum class UnifiedAttentionMode : uint8_t {
  kAuto,  // for requests of one new token
  k2D,    // never
  k3D,    // for all rows
};

struct UnifiedAttentionIo {
  TensorView q;    // [>= tokens, num_heads, head_size]
  TensorView out;  // the same; rows behind the step's are untouched
  TensorView lse;  // f32 [>= tokens, num_heads], natural log; or not given
  KvCacheView cache;
};

// One thread at a time, one queue: its tables are overwritten by each Update.
class UnifiedAttention {
 public:
  // Slow; allocates all that calls need. The errors of AttentionLayer::Create and Allocate.
  static absl::StatusOr<std::unique_ptr<UnifiedAttention>> Create(
      std::shared_ptr<Backend> backend, const AttentionSpec& spec, const KvCacheLayout& layout,
      const OpLimits& limits, UnifiedAttentionMode mode = UnifiedAttentionMode::kAuto);

  // Takes a step on: validates, plans, and records the copy of the tables. Errors of
  // BuildStepMetadata; RESOURCE_EXHAUSTED: over a limit. Nothing is recorded then.
  absl::Status Update(Queue& queue, const StepArrays& arrays, const KvCacheView& cache);
  // Attends for the step of the last Update; as often as there are layers. Records only.
  absl::Status Attend(Queue& queue, const UnifiedAttentionIo& io) const;

  // Both: one call of the seed's. Neither allocates device memory nor waits.
  absl::Status Run(Queue& queue, const StepArrays& arrays, const UnifiedAttentionIo& io);

  // Of the last Update; null before.
  const Plan* plan() const { return step_->plan(); }

 private:
  UnifiedAttention(AttentionLayer layer, std::unique_ptr<StepBuffers> step,
                   UnifiedAttentionMode mode)
      : layer_(std::move(layer)), step_(std::move(step)), mode_(mode) {}

  AttentionLayer layer_;
  std::unique_ptr<StepBuffers> step_;
  UnifiedAttentionMode mode_;
};

}  // namespace weft

#endif  // WEFT_CORE_OPS_UNIFIED_ATTENTION_H_
