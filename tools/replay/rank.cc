// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/rank.h"

#include <optional>

#include "absl/time/clock.h"
#include "core/checked_math.h"
#include "core/dtype.h"
#include "core/status_macros.h"

namespace weft::replay {

void RankTotals::Add(const RankWork& work) {
  for (size_t kind = 0; kind < work.op_times.size(); ++kind) {
    op_times[kind].calls += work.op_times[kind].calls;
    op_times[kind].time += work.op_times[kind].time;
  }
  causal_pairs += work.causal_pairs;
  rows += work.rows;
  padding_rows += work.padding_rows;
  plan_time += work.planned - work.start;
}

absl::Status Rank::Open(const AttentionSpec& spec, const KvCacheLayout& layout) {
  ASSIGN_OR_RETURN(queue_, backend_->CreateQueue());
  ASSIGN_OR_RETURN(source_, ContentSource::Create(*backend_, *queue_, *content_, spec.dtype,
                                                  spec.head_size, config_.num_layers));
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    ASSIGN_OR_RETURN(KvPool pool, KvPool::Create(*backend_, *queue_, layout, config_.num_blocks,
                                                 config_.max_allocation_bytes));
    pools_.push_back(std::move(pool));
  }
  RETURN_IF_ERROR(AllocateMore());
  RETURN_IF_ERROR(queue_->Submit());
  RETURN_IF_ERROR(queue_->Wait(absl::Now() + config_.timeout));
  queue_->SetProfiling(true);
  return absl::OkStatus();
}

absl::StatusOr<RankStep> Rank::Run(const StepWork& work, bool want_restored) {
  RankStep result;
  result.answers.resize(work.samples.size());
  result.work.start = absl::Now();
  const absl::Time deadline = result.work.start + config_.timeout;
  RETURN_IF_ERROR(Plan(work, result.work));
  result.work.planned = absl::Now();
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    RETURN_IF_ERROR(RecordLayer(layer, work, deadline, result));
  }
  RETURN_IF_ERROR(RecordRestore(work, want_restored, deadline, result));
  result.work.recorded = absl::Now();
  RETURN_IF_ERROR(queue_->Submit());
  RETURN_IF_ERROR(queue_->Wait(deadline));
  result.work.done = absl::Now();
  result.work.op_times = queue_->TakeOpTimes();
  totals_.Add(result.work);
  return result;
}

absl::StatusOr<std::unique_ptr<Buffer>> Rank::Allocate(
    std::initializer_list<int64_t> factors) const {
  int64_t bytes = 1;
  for (const int64_t factor : factors) {
    const std::optional<int64_t> next = CheckedMul(bytes, factor);
    if (!next) return absl::OutOfRangeError("a buffer's size does not fit 63 bits");
    bytes = *next;
  }
  return backend_->Allocate(bytes);
}

absl::Status Rank::CopySamples(int64_t layer, const StepWork& work, const TensorView& out,
                               const TensorView& lse, int64_t first_head, RankStep& result) {
  const int64_t heads = out.extent(1), head_bytes = out.extent(2) * SizeOf(out.dtype());
  for (size_t i = 0; i < work.samples.size(); ++i) {
    const Sample& sample = work.samples[i];
    if (sample.layer != layer || sample.rank != config_.rank) continue;
    const int64_t place = sample.local_row * heads + sample.head - first_head;
    SampleAnswer& answer = result.answers[i];
    answer.out.resize(head_bytes);
    RETURN_IF_ERROR(
        queue_->CopyToHost(absl::MakeSpan(answer.out), out.address() + place * head_bytes));
    RETURN_IF_ERROR(
        queue_->CopyToHost(absl::MakeSpan(reinterpret_cast<uint8_t*>(&answer.lse), sizeof(float)),
                           lse.address() + place * sizeof(float)));
  }
  return absl::OkStatus();
}

void Rank::RowsOf(const StepWork& work, std::vector<int64_t>& requests,
                  std::vector<int64_t>& positions) {
  for (const StepEntry& entry : work.step.entries) {
    for (int64_t i = 0; i < entry.num_new_tokens; ++i) {
      requests.push_back(entry.request);
      positions.push_back(entry.num_computed_tokens + i);
    }
  }
}

absl::Span<const uint8_t> AsBytes(const std::vector<int64_t>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(int64_t)};
}

}  // namespace weft::replay
