// SPDX-License-Identifier: Apache-2.0
#include "core/attention_layer.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/fingerprint.h"
#include "core/status_macros.h"
#include "core/view_check.h"

namespace weft {
namespace {

absl::Status RefuseBlockScale(const AttentionIo& io) {
  if (!io.out_block_scale.given()) return absl::OkStatus();
  return absl::UnimplementedError(
      "forward: a block-quantised output (out_block_scale) is not supported, only one static scale "
      "for the whole tensor");
}

}  // namespace

absl::StatusOr<AttentionLayer> AttentionLayer::Create(std::shared_ptr<Backend> backend,
                                                      const AttentionSpec& spec,
                                                      const KvCacheLayout& layout) {
  if (backend == nullptr) return absl::InvalidArgumentError("attention layer: no backend");
  RETURN_IF_ERROR(ValidateForLayout(spec, layout));
  RETURN_IF_ERROR(backend->Supports(spec, layout));
  ASSIGN_OR_RETURN(std::shared_ptr<const PreparedAttention> prepared,
                   backend->Prepare(spec, layout));
  ASSIGN_OR_RETURN(std::shared_ptr<const HeadValueBuffer> head_values,
                   HeadValueBuffer::Create(*backend, spec));
  return AttentionLayer(std::move(backend), std::move(prepared), std::move(head_values));
}

AttentionLayer::AttentionLayer(std::shared_ptr<Backend> backend,
                               std::shared_ptr<const PreparedAttention> prepared,
                               std::shared_ptr<const HeadValueBuffer> head_values)
    : backend_(std::move(backend)),
      prepared_(std::move(prepared)),
      head_values_(std::move(head_values)) {
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
  PlanOptions options;
  options.partition = partition;
  options.rank = rank;
  return MakePlan(metadata, options);
}

absl::StatusOr<std::shared_ptr<const Plan>> AttentionLayer::MakePlan(
    const AttentionMetadata& metadata, const PlanOptions& options) const {
  const bool fits = options.keys == KeyScope::kNew
                        ? layout().block_size() == 1 &&
                              layout().num_kv_heads() == metadata.layout().num_kv_heads() &&
                              layout().head_size() == metadata.layout().head_size()
                        : metadata.layout().fingerprint() == layout().fingerprint();
  if (!fits) {
    return absl::FailedPreconditionError(absl::StrCat(
        "plan: the metadata was built for ", metadata.layout().ToString(), ", the layer for ",
        layout().ToString(),
        options.keys == KeyScope::kNew ? ", and new tokens are read as a cache of rows" : ""));
  }
  ASSIGN_OR_RETURN(Plan plan,
                   Plan::Build(spec(), prepared_->plan_config(), fingerprint_, metadata, options));
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
  if (plan->partial() && IsFp8(spec().output_dtype())) {
    return absl::FailedPreconditionError(
        absl::StrCat("forward: the plan's results are states to be merged, not to be rounded to ",
                     Name(spec().output_dtype()), " before"));
  }
  RETURN_IF_ERROR(RefuseBlockScale(io));
  AttentionArgs args;
  args.head_values = head_values_->values();
  args.apply_sinks = !plan->partial();
  args.prepared = prepared_.get();
  args.query = io.query;
  args.out = io.out;
  args.lse = io.lse;
  args.cache = io.cache;
  args.tables = step.tables();
  args.num_rows = step.num_rows();
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
  write.k_scales = head_values_->values().k_scales;
  write.v_scales = head_values_->values().v_scales;
  if (spec().shares_kv_cache || step.slots().empty()) return queue.Attention(attention);
  // The write must not be recorded if the attention would be refused.
  RETURN_IF_ERROR(queue.CheckAttention(attention));
  RETURN_IF_ERROR(queue.ReshapeAndCache(write));
  return queue.Attention(attention);
}

absl::Status AttentionLayer::Forward(Queue& queue, const AttentionIo& io) const {
  RETURN_IF_ERROR(RefuseBlockScale(io));
  const ViewCheck check = {queue.allocations(), queue.device()};
  RETURN_IF_ERROR(check.Rows("forward: out", io.out, spec().output_dtype(), 0, spec().num_heads,
                             spec().head_size));
  if (!io.query.given()) return absl::OkStatus();
  return check.Rows("forward: query", io.query, spec().query_dtype(), 0, spec().num_heads,
                    spec().head_size);
}

absl::Status AttentionLayer::Attend(Queue& queue, const StepBuffers& step,
                                    const AttentionIo& io) const {
  ASSIGN_OR_RETURN(const AttentionArgs attention, Arguments(step, io));
  return queue.Attention(attention);
}

}  // namespace weft
