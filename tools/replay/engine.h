// SPDX-License-Identifier: Apache-2.0
//
// Engine: runs a schedule through all ranks, step by step, and keeps the books.
#ifndef WEFT_TOOLS_REPLAY_ENGINE_H_
#define WEFT_TOOLS_REPLAY_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "collectives/communicator.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/backend.h"
#include "tools/replay/content.h"
#include "tools/replay/preset.h"
#include "tools/replay/rank.h"
#include "tools/replay/scale.h"
#include "tools/replay/scheduler.h"

namespace weft::replay {

class Checker;
class OutputDigest;

struct EngineConfig {
  Preset preset;
  SchedulerConfig scheduler;
  int64_t world_size = 1;  // PCP: ranks that share each prefill
  int64_t dcp = 1;  // ranks that share cache and heads; the scheduler's blocks are theirs all
                    // together. One of the two is 1.
  int64_t num_ranks() const { return world_size * dcp; }
  int64_t num_layers = 1;
  int64_t check_every = 1;  // steps 0, N, 2N, ... are checked
  uint64_t seed = 0;
  int64_t max_allocation_bytes = 0;            // of a piece of a cache; 0: what the device allows
  absl::Duration timeout = absl::Minutes(10);  // of a step
  std::string run;                             // what reproduces the run; for mismatches
};

struct RunStats {
  ScheduleTotals schedule;
  int64_t checked_steps = 0;
  int64_t checked_pairs = 0;
  std::vector<std::string> mismatches;  // of the step that stopped the run
  std::string output_digest;
  int64_t bytes_communicated = 0;  // that ranks needed of each other, all ranks together
  std::vector<RankTotals> ranks;
  std::vector<double> step_seconds;  // [steps], without the oracle
  absl::Duration wall;               // from the first step to the last, oracle included
  absl::Duration oracle_time;
  double mean_block_use = 0;  // of the cache's blocks, over steps: held by a request
  double peak_block_use = 0;
};

// Called before each step with the tokens done and to do.
using ProgressCallback = std::function<void(int64_t tokens_done, int64_t tokens_total)>;

// When a step was what, on the wall clock.
struct StepTimes {
  absl::Time start;
  absl::Time prepared;  // scheduled, metadata and partition built, samples chosen
  absl::Time ran;       // all ranks are done
  absl::Time end;       // the output is in the digest; the oracle comes after that
  absl::Time judged;    // `end` unless the step was checked
};

// Called after each step, with what each rank did; the references hold during the call.
using StepObserver = std::function<void(const StepWork& work, absl::Span<const RankStep> ranks,
                                        const StepTimes& times)>;

class Engine {
 public:
  // Opens everything: slow. `workload` must outlive the engine. INVALID_ARGUMENT: both PCP and DCP;
  // a block that DCP ranks cannot share. OUT_OF_RANGE: the caches are larger than the device's
  // memory. The errors of Scheduler::Create and of the backend.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineConfig& config,
                                                        std::shared_ptr<Backend> backend,
                                                        const Workload& workload);
  ~Engine();

  // Runs all steps, or stops behind the first step with a mismatch. An error is the device's or
  // weft's, of any rank; the others have stopped too.
  absl::StatusOr<RunStats> Run(const ProgressCallback& progress,
                               const StepObserver& observer = nullptr);

  // For tests: spoils the steps of one rank.
  void SetFaultHook(int64_t rank, FaultHook hook) { ranks_[rank]->set_fault_hook(std::move(hook)); }

 private:
  Engine(const EngineConfig& config, const Workload& workload, Scheduler scheduler);

  // The rank that brings the restored rows here: another one in each step, so that all are looked
  // at.
  int64_t ReaderRank(const StepWork& work) const { return work.step.index % config_.num_ranks(); }
  const RankStep& Reader(const StepWork& work, absl::Span<const RankStep> results) const {
    return results[ReaderRank(work)];
  }

  absl::Status CreateRanks(const std::shared_ptr<Backend>& backend, const KvCacheLayout& layout);
  absl::StatusOr<StepWork> Prepare(Step step) const;
  absl::StatusOr<std::vector<RankStep>> RunRanks(const StepWork& work);
  void Digest(const StepWork& work, absl::Span<const uint8_t> rows, OutputDigest& digest) const;
  // Takes the answers out of the results.
  void Judge(const StepWork& work, absl::Span<RankStep> results, RunStats& stats) const;

  EngineConfig config_;
  const Workload* workload_;
  Scheduler scheduler_;
  std::unique_ptr<Content> content_;
  std::unique_ptr<Checker> checker_;
  std::unique_ptr<AttentionMetadataBuilder> builder_;
  std::vector<std::unique_ptr<Communicator>> communicators_;  // empty on one rank
  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_ENGINE_H_
