// SPDX-License-Identifier: Apache-2.0
#include "core/ops/unified_attention.h"

#include "core/ops/io_check.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr std::string_view kOp = "unified_attention";

DecodeRule RuleOf(UnifiedAttentionMode mode) {
  switch (mode) {
    case UnifiedAttentionMode::k2D:
      return DecodeRule::kNone;
    case UnifiedAttentionMode::k3D:
      return DecodeRule::kAll;
    case UnifiedAttentionMode::kAuto:
      break;
  }
  return DecodeRule::kSingleTokens;
}

AttentionIo OverCache(const UnifiedAttentionIo& io) {
  return IoOverCache(io.q, io.out, io.lse, io.cache);
}

}  // namespace

absl::StatusOr<std::unique_ptr<UnifiedAttention>> UnifiedAttention::Create(
    std::shared_ptr<Backend> backend, const AttentionSpec& spec, const KvCacheLayout& layout,
    const OpLimits& limits, UnifiedAttentionMode mode) {
  ASSIGN_OR_RETURN(const StepLimits step_limits, StepLimitsOf(kOp, spec, layout, limits));
  ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(backend, spec, layout));
  ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step,
                   StepBuffers::Create(std::move(backend), step_limits));
  return std::unique_ptr<UnifiedAttention>(
      new UnifiedAttention(std::move(layer), std::move(step), mode));
}

absl::Status UnifiedAttention::Update(Queue& queue, const StepArrays& arrays,
                                      const KvCacheView& cache) {
  ASSIGN_OR_RETURN(const AttentionMetadata metadata,
                   BuildStepMetadata(kOp, arrays, cache, RuleOf(mode_), layer_.spec().window));
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, layer_.MakePlan(metadata));
  return step_->Update(queue, std::move(plan));
}

absl::Status UnifiedAttention::Attend(Queue& queue, const UnifiedAttentionIo& io) const {
  return layer_.Attend(queue, *step_, OverCache(io));
}

absl::Status UnifiedAttention::Run(Queue& queue, const StepArrays& arrays,
                                   const UnifiedAttentionIo& io) {
  RETURN_IF_ERROR(CheckIo(kOp, queue, layer_.spec(), NumRows(arrays), OverCache(io)));
  RETURN_IF_ERROR(Update(queue, arrays, io.cache));
  return Attend(queue, io);
}

}  // namespace weft
