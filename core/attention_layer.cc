// SPDX-License-Identifier: Apache-2.0
#include "core/attention_layer.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/fingerprint.h"
#include "core/status_macros.h"

namespace weft {

absl::StatusOr<AttentionLayer> AttentionLayer::Create(std::shared_ptr<Backend> backend,
                                                      const AttentionSpec& spec,
                                                      const KvCacheLayout& layout) {
  if (backend == nullptr) return absl::InvalidArgumentError("attention layer: no backend");
  RETURN_IF_ERROR(ValidateForLayout(spec, layout));
  RETURN_IF_ERROR(backend->Supports(spec, layout));
  ASSIGN_OR_RETURN(std::shared_ptr<const PreparedAttention> prepared,
                   backend->Prepare(spec, layout));
  return AttentionLayer(std::move(backend), std::move(prepared));
}

AttentionLayer::AttentionLayer(std::shared_ptr<Backend> backend,
                               std::shared_ptr<const PreparedAttention> prepared)
    : backend_(std::move(backend)), prepared_(std::move(prepared)) {
  fingerprint_ = Fingerprint()
                     .Add(prepared_->spec().fingerprint())
                     .Add(prepared_->layout().fingerprint())
                     .Add(prepared_->device().kind)
                     .Add(prepared_->device().ordinal)
                     .Add(prepared_->plan_config().tile_tokens)
                     .value();
}

absl::StatusOr<std::shared_ptr<const Plan>> AttentionLayer::MakePlan(
    const AttentionMetadata& metadata, const PcpPartition* partition, int64_t rank) const {
  if (metadata.layout().fingerprint() != layout().fingerprint()) {
    return absl::FailedPreconditionError(absl::StrCat("plan: the metadata was built for ",
                                                      metadata.layout().ToString(),
                                                      ", the layer for ", layout().ToString()));
  }
  ASSIGN_OR_RETURN(Plan plan, Plan::Build(spec(), prepared_->plan_config(), fingerprint_, metadata,
                                          partition, rank));
  return std::make_shared<const Plan>(std::move(plan));
}

absl::StatusOr<AttentionArgs> AttentionLayer::Arguments(const StepBuffers& step,
                                                        const AttentionIo& io) const {
  const weft::Plan* plan = step.plan();
  if (plan == nullptr)
    return absl::FailedPreconditionError("forward: the step buffers hold no plan yet");
  if (plan->layer_fingerprint() != fingerprint_) {
    return absl::FailedPreconditionError(
        "forward: the plan was made by a layer of another spec, cache layout or device");
  }
  if (io.cache.num_blocks() < plan->num_blocks()) {
    return absl::FailedPreconditionError(
        absl::StrCat("forward: the cache has ", io.cache.num_blocks(),
                     " blocks, the plan was made for ", plan->num_blocks()));
  }
  AttentionArgs args;
  args.prepared = prepared_.get();
  args.query = io.query;
  args.out = io.out;
  args.lse = io.lse;
  args.cache = io.cache;
  args.tables = step.tables();
  args.num_rows = plan->num_rows();
  return args;
}

absl::Status AttentionLayer::Forward(Queue& queue, const StepBuffers& step,
                                     const AttentionIo& io) const {
  ASSIGN_OR_RETURN(const AttentionArgs attention, Arguments(step, io));
  ReshapeAndCacheArgs write;
  write.key = io.key;
  write.value = io.value;
  write.slots = step.slots();
  write.cache = io.cache;
  if (step.plan()->slots().empty()) return queue.Attention(attention);
  // The write must not be recorded if the attention would be refused.
  RETURN_IF_ERROR(queue.CheckAttention(attention));
  RETURN_IF_ERROR(queue.ReshapeAndCache(write));
  return queue.Attention(attention);
}

absl::Status AttentionLayer::Attend(Queue& queue, const StepBuffers& step,
                                    const AttentionIo& io) const {
  ASSIGN_OR_RETURN(const AttentionArgs attention, Arguments(step, io));
  return queue.Attention(attention);
}

}  // namespace weft
