// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/recorder.h"

#include <algorithm>
#include <utility>

namespace weft::replay {

Recorder::Recorder(const Workload& workload) {
  requests_.reserve(workload.requests.size());
  for (const ReplayRequest& from : workload.requests) {
    RequestSample request;
    request.arrival_ms = from.arrival_ms;
    request.prompt_length = from.prompt_length;
    request.output_length = from.output_length;
    requests_.push_back(request);
  }
}

StepObserver Recorder::Observer() {
  return [this](const StepWork& work, absl::Span<const RankStep> ranks, const StepTimes& times) {
    Add(work, ranks, times);
  };
}

void Recorder::AddEntry(const StepEntry& entry, StepSample& step) {
  const bool decode = entry.kind == RequestKind::kDecode;
  (decode ? step.decode_tokens : step.prefill_tokens) += entry.num_new_tokens;
  ++(decode ? step.decodes : step.prefills);
  RequestSample& request = requests_[entry.request];
  const auto index = static_cast<int64_t>(steps_.size());
  if (request.first_step < 0) {
    request.first_step = index;
    // Nothing else can have computed them.
    request.reused_tokens = entry.num_computed_tokens;
    step.reused_tokens += request.reused_tokens;
    ++begun_;
  }
  const int64_t computed = entry.num_computed_tokens + entry.num_new_tokens;
  if (request.first_token_step < 0 && computed >= request.prompt_length) {
    request.first_token_step = index;
  }
  if (computed >= request.prompt_length + request.output_length) request.last_step = index;
}

void Recorder::Add(const StepWork& work, absl::Span<const RankStep> ranks, const StepTimes& times) {
  if (steps_.empty()) start_ = times.start;
  StepSample step;
  step.start_s = Seconds(times.start);
  step.prepared_s = Seconds(times.prepared);
  step.ran_s = Seconds(times.ran);
  step.end_s = Seconds(times.end);
  step.judged_s = Seconds(times.judged);
  step.virtual_start_ms = work.step.virtual_start_ms;
  step.virtual_end_ms = work.step.virtual_end_ms;
  step.blocks = work.step.blocks;
  step.samples = static_cast<int64_t>(work.samples.size());
  for (const StepEntry& entry : work.step.entries) AddEntry(entry, step);
  const auto all = static_cast<int64_t>(requests_.size());
  while (arrived_ < all && requests_[arrived_].arrival_ms <= step.virtual_start_ms) ++arrived_;
  step.waiting = arrived_ - begun_;
  for (const RankStep& from : ranks) {
    RankSample rank;
    rank.start_s = Seconds(from.work.start);
    rank.planned_s = Seconds(from.work.planned);
    rank.recorded_s = Seconds(from.work.recorded);
    rank.done_s = Seconds(from.work.done);
    std::copy(from.work.op_times.begin(), from.work.op_times.end(), rank.ops.begin());
    rank.causal_pairs = from.work.causal_pairs;
    rank.rows = from.work.rows;
    rank.padding_rows = from.work.padding_rows;
    step.ranks.push_back(rank);
  }
  steps_.push_back(std::move(step));
}

}  // namespace weft::replay
