// SPDX-License-Identifier: Apache-2.0
#include "core/ops/paged_decode.h"

#include <numeric>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/ops/io_check.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr std::string_view kOp = "paged_decode";

AttentionIo OverCache(const PagedDecodeIo& io) {
  return IoOverCache(io.query, io.out, io.lse, io.cache);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PagedDecode>> PagedDecode::Create(
    std::shared_ptr<Backend> backend, const AttentionSpec& spec, const KvCacheLayout& layout,
    const OpLimits& limits, const PagedDecodeOptions& options) {
  OpLimits op_limits = limits;
  op_limits.max_decode_rows = options.split ? limits.max_rows : 0;
  ASSIGN_OR_RETURN(const StepLimits step_limits, StepLimitsOf(kOp, spec, layout, op_limits));
  ASSIGN_OR_RETURN(AttentionLayer layer, AttentionLayer::Create(backend, spec, layout));
  ASSIGN_OR_RETURN(std::unique_ptr<StepBuffers> step,
                   StepBuffers::Create(std::move(backend), step_limits));
  return std::unique_ptr<PagedDecode>(new PagedDecode(std::move(layer), std::move(step), options));
}

absl::Status PagedDecode::Update(Queue& queue, const StepArrays& arrays, const KvCacheView& cache) {
  StepArrays rows = arrays;
  std::vector<int32_t> one_each;
  if (!options_.filter_by_query_len) {
    if (!arrays.query_start_loc.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          kOp, ": query_start_loc is given, but without filter_by_query_len row i is sequence i"));
    }
    for (size_t i = 0; i < arrays.seq_lens.size(); ++i) {
      if (arrays.seq_lens[i] >= 1) continue;
      return absl::InvalidArgumentError(absl::StrCat(kOp, ": request ", i, ": seq_lens is ",
                                                     arrays.seq_lens[i],
                                                     ", must be >= 1, the new token's own key"));
    }
    one_each.resize(arrays.seq_lens.size() + 1);
    std::iota(one_each.begin(), one_each.end(), 0);
    rows.query_start_loc = one_each;
  }
  // Of the two kinds one is this call's and the other is left out, so that the kind can choose the
  // kernel.
  const DecodeRule rule =
      options_.split ? DecodeRule::kSingleTokens : DecodeRule::kAllButSingleTokens;
  ASSIGN_OR_RETURN(const AttentionMetadata metadata,
                   BuildStepMetadata(kOp, rows, cache, rule, layer_.spec().window));
  PlanOptions plan_options;
  plan_options.rows = options_.split ? RowScope::kDecodes : RowScope::kPrefills;
  ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, layer_.MakePlan(metadata, plan_options));
  return step_->Update(queue, std::move(plan));
}

absl::Status PagedDecode::Attend(Queue& queue, const PagedDecodeIo& io) const {
  return layer_.Attend(queue, *step_, OverCache(io));
}

absl::Status PagedDecode::Run(Queue& queue, const StepArrays& arrays, const PagedDecodeIo& io) {
  const auto sequences = static_cast<int64_t>(arrays.seq_lens.size());
  const int64_t rows = arrays.query_start_loc.empty() ? sequences : NumRows(arrays);
  RETURN_IF_ERROR(CheckIo(kOp, queue, layer_.spec(), rows, OverCache(io)));
  RETURN_IF_ERROR(Update(queue, arrays, io.cache));
  return Attend(queue, io);
}

}  // namespace weft
