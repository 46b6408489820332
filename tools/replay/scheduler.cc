// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"

namespace weft::replay {
namespace {

// A step costs at least this part of a full one: launching it is not free.
constexpr double kLeastStepShare = 1.0 / 8;

// Trace time is compressed so that the virtual engine is just as fast as the trace asks for on
// average: requests queue in bursts and do not pile up for ever.
double MsPerToken(const Workload& workload) {
  double tokens = 0;
  for (const ReplayRequest& request : workload.requests) {
    tokens += static_cast<double>(request.total_length());
  }
  return workload.requests.back().arrival_ms / std::max(tokens, 1.0);
}

}  // namespace

int64_t Step::num_tokens() const {
  int64_t tokens = 0;
  for (const StepEntry& entry : entries) tokens += entry.num_new_tokens;
  return tokens;
}

absl::StatusOr<Scheduler> Scheduler::Create(const Workload& workload,
                                            const SchedulerConfig& config) {
  if (workload.requests.empty()) return absl::InvalidArgumentError("no request to replay");
  if (config.token_budget < 1 || config.max_running < 1 || config.block_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "token budget ", config.token_budget, ", running requests ", config.max_running,
        " and block size ", config.block_size, " must be at least 1"));
  }
  for (size_t i = 0; i < workload.requests.size(); ++i) {
    const int64_t blocks = CeilDiv(workload.requests[i].total_length(), config.block_size);
    if (blocks > config.num_blocks) {
      return absl::InvalidArgumentError(absl::StrCat("request ", i, " needs ", blocks,
                                                     " cache blocks of ", config.block_size,
                                                     " tokens, and there are ", config.num_blocks));
    }
  }
  return Scheduler(workload, config);
}

Scheduler::Scheduler(const Workload& workload, const SchedulerConfig& config)
    : workload_(&workload),
      config_(config),
      allocator_(config.num_blocks, config.block_size, workload.hash_block),
      ms_per_token_(MsPerToken(workload)) {}

bool Scheduler::HasNext() const {
  if (next_request_ < static_cast<int64_t>(workload_->requests.size())) return true;
  return std::any_of(running_.begin(), running_.end(), [](const Running& running) {
    return running.computed < running.sequence.total_length;
  });
}

// In order of arrival: a request that does not fit holds back those behind it, so none starves.
bool Scheduler::AdmitNext() {
  if (next_request_ == static_cast<int64_t>(workload_->requests.size())) return false;
  if (static_cast<int64_t>(running_.size()) == config_.max_running) return false;
  const ReplayRequest& request = workload_->requests[next_request_];
  if (request.arrival_ms > now_ms_) {
    if (!running_.empty()) return false;
    now_ms_ = request.arrival_ms;  // nothing to do: go to the next arrival
  }
  Running running;
  running.request = next_request_;
  running.sequence.prompt_length = request.prompt_length;
  running.sequence.total_length = request.total_length();
  running.sequence.hash_ids = request.hash_ids;
  if (!allocator_.Admit(running.sequence)) return false;
  running.computed = running.sequence.reused_tokens;
  totals_.reused_tokens += running.sequence.reused_tokens;
  running_.push_back(std::move(running));
  ++next_request_;
  return true;
}

StepEntry Scheduler::Schedule(Running& running, int64_t num_tokens) {
  StepEntry entry;
  entry.request = running.request;
  entry.num_new_tokens = num_tokens;
  entry.num_computed_tokens = running.computed;
  const bool decode = running.computed >= running.sequence.prompt_length;
  entry.kind = decode ? RequestKind::kDecode : RequestKind::kPrefill;
  (decode ? totals_.decode_tokens : totals_.prefill_tokens) += num_tokens;
  running.computed += num_tokens;
  allocator_.Grow(running.sequence, running.computed);
  entry.blocks = running.sequence.blocks;
  return entry;
}

// What the last step has written may be reused from now on, and its finished requests go.
void Scheduler::FinishStep() {
  for (Running& running : running_) allocator_.Commit(running.sequence, running.computed);
  const auto done = [this](Running& running) {
    if (running.computed < running.sequence.total_length) return false;
    allocator_.Release(running.sequence);
    return true;
  };
  running_.erase(std::remove_if(running_.begin(), running_.end(), done), running_.end());
}

// A request is admitted no earlier than it gets tokens: the later it comes, the more it finds in
// the cache.
Step Scheduler::Next() {
  FinishStep();
  Step step;
  step.index = totals_.steps++;
  std::vector<int64_t> tokens(running_.size(), 0);
  int64_t budget = config_.token_budget;
  for (size_t i = 0; i < running_.size() && budget > 0; ++i) {
    if (running_[i].computed < running_[i].sequence.prompt_length) continue;
    tokens[i] = 1;
    --budget;
  }
  for (size_t i = 0; budget > 0 && (i < running_.size() || AdmitNext()); ++i) {
    tokens.resize(running_.size(), 0);
    const int64_t left = running_[i].sequence.prompt_length - running_[i].computed;
    if (left <= 0) continue;
    tokens[i] = std::min(left, budget);
    budget -= tokens[i];
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] > 0) step.entries.push_back(Schedule(running_[i], tokens[i]));
  }
  step.blocks = allocator_.counts();
  step.virtual_start_ms = now_ms_;
  const double cost = std::max(static_cast<double>(config_.token_budget - budget),
                               static_cast<double>(config_.token_budget) * kLeastStepShare);
  now_ms_ += cost * ms_per_token_;
  step.virtual_end_ms = now_ms_;
  totals_.virtual_ms = now_ms_;
  return step;
}

}  // namespace weft::replay
