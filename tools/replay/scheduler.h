// SPDX-License-Identifier: Apache-2.0
//
// Scheduler: continuous batching. Decides which tokens of which requests make up each step: decodes
// first, then chunks of prefills under a token budget. Time is virtual: a step costs what its
// tokens cost, so the schedule is the same whatever the device, the ranks and the day.
#ifndef WEFT_TOOLS_REPLAY_SCHEDULER_H_
#define WEFT_TOOLS_REPLAY_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/request_batch.h"
#include "tools/replay/block_allocator.h"
#include "tools/replay/scale.h"

namespace weft::replay {

struct SchedulerConfig {
  int64_t token_budget = 0;  // rows of a step, >= 1
  int64_t max_running = 0;   // requests of a step, >= 1
  int64_t block_size = 0;    // tokens of a cache block
  int64_t num_blocks = 0;
};

// One request's part of a step.
struct StepEntry {
  int64_t request = 0;  // in the workload
  RequestKind kind = RequestKind::kPrefill;
  int64_t num_new_tokens = 0;
  int64_t num_computed_tokens = 0;
  std::vector<int32_t> blocks;  // for all of the request's positions up to this step
};

struct Step {
  int64_t index = 0;
  std::vector<StepEntry> entries;  // decodes and prefills as they stand in the engine, not sorted
  BlockCounts blocks;
  double virtual_start_ms = 0;  // on the scheduler's clock, counted from the first arrival
  double virtual_end_ms = 0;
  int64_t num_tokens() const;
};

struct ScheduleTotals {
  int64_t steps = 0;
  int64_t prefill_tokens = 0;  // computed
  int64_t decode_tokens = 0;
  int64_t reused_tokens = 0;  // found in the cache
  double virtual_ms = 0;
};

class Scheduler {
 public:
  // INVALID_ARGUMENT names the first request that can never fit the cache. `workload` must outlive
  // the scheduler.
  static absl::StatusOr<Scheduler> Create(const Workload& workload, const SchedulerConfig& config);

  // True while a request has tokens left.
  bool HasNext() const;
  // The next step; it is taken as done when Next is called again.
  Step Next();

  const ScheduleTotals& totals() const { return totals_; }

 private:
  struct Running {
    int64_t request = 0;
    int64_t computed = 0;
    Sequence sequence;
  };

  Scheduler(const Workload& workload, const SchedulerConfig& config);

  bool AdmitNext();
  StepEntry Schedule(Running& running, int64_t num_tokens);
  void FinishStep();

  const Workload* workload_;
  SchedulerConfig config_;
  BlockAllocator allocator_;
  std::vector<Running> running_;
  int64_t next_request_ = 0;  // the first that is not admitted yet
  double ms_per_token_ = 0;
  double now_ms_ = 0;
  ScheduleTotals totals_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_SCHEDULER_H_
