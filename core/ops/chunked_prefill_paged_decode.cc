// SPDX-License-Identifier: Apache-2.0
#include "core/ops/chunked_prefill_paged_decode.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/ops/io_check.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr std::string_view kOp = "chunked_prefill_paged_decode";

// The decodes' keys are all there.
AttentionIo OverCache(const ContextAttentionIo& io) {
  return IoOverCache(io.query, io.out, io.lse, io.cache);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChunkedPrefillPagedDecode>> ChunkedPrefillPagedDecode::Create(
    std::shared_ptr<Backend> backend, const AttentionSpec& spec, const KvCacheLayout& layout,
    const OpLimits& limits, const ChunkStrides& strides) {
  ContextAttentionOptions options;
  options.strides = strides;
  options.rows = RowScope::kPrefills;
  OpLimits prefill_limits = limits;
  prefill_limits.max_decode_rows = 0;
  ASSIGN_OR_RETURN(std::unique_ptr<ContextAttention> prefill,
                   ContextAttention::Create(backend, spec, layout, prefill_limits, options));
  ASSIGN_OR_RETURN(const StepLimits step_limits, StepLimitsOf(kOp, spec, layout, limits));
  ASSIGN_OR_RETURN(AttentionLayer decode, AttentionLayer::Create(backend, spec, layout));
  ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step,
                   StepBuffers::Create(std::move(backend), step_limits));
  return std::unique_ptr<ChunkedPrefillPagedDecode>(
      new ChunkedPrefillPagedDecode(std::move(prefill), std::move(decode), std::move(step)));
}

absl::Status ChunkedPrefillPagedDecode::Update(Queue& queue, const StepArrays& arrays,
                                               const KvCacheView& cache) {
  ASSIGN_OR_RETURN(
      const AttentionMetadata metadata,
      BuildStepMetadata(kOp, arrays, cache, DecodeRule::kSingleTokens, decode_.spec().window));
  PlanOptions options;
  options.rows = RowScope::kDecodes;
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, decode_.MakePlan(metadata, options));
  RETURN_IF_ERROR(prefill_->Update(queue, metadata));
  return decode_step_->Update(queue, std::move(plan));
}

absl::Status ChunkedPrefillPagedDecode::Attend(Queue& queue, const ContextAttentionIo& io) const {
  const Plan* const plan = decode_step_->plan();
  if (plan == nullptr)
    return absl::FailedPreconditionError(absl::StrCat(kOp, ": there is no step yet"));
  // Decodes' tensors first: the prefills must not be recorded if the decodes would be refused.
  const AttentionIo decode_io = OverCache(io);
  RETURN_IF_ERROR(CheckIo(kOp, queue, decode_.spec(), plan->num_rows(), decode_io));
  if (io.cache.num_blocks() < plan->num_blocks()) {
    return absl::FailedPreconditionError(
        absl::StrCat(kOp, ": the cache has ", io.cache.num_blocks(),
                     " blocks, the step was made for ", plan->num_blocks()));
  }
  RETURN_IF_ERROR(prefill_->Attend(queue, io));
  return decode_.Attend(queue, *decode_step_, decode_io);
}

absl::Status ChunkedPrefillPagedDecode::Run(Queue& queue, const StepArrays& arrays,
                                            const ContextAttentionIo& io) {
  RETURN_IF_ERROR(CheckIo(kOp, queue, decode_.spec(), NumRows(arrays), OverCache(io)));
  RETURN_IF_ERROR(Update(queue, arrays, io.cache));
  return Attend(queue, io);
}

}  // namespace weft
