// SPDX-License-Identifier: Apache-2.0
//
// Recorder: what happened in each step of a run, kept for the report page and the trace.
//
//   Recorder recorder(workload);
//   engine->Run(progress, recorder.Observer());
#ifndef WEFT_TOOLS_REPLAY_RECORDER_H_
#define WEFT_TOOLS_REPLAY_RECORDER_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/queue.h"
#include "tools/replay/block_allocator.h"
#include "tools/replay/engine.h"
#include "tools/replay/scale.h"

namespace weft::replay {

// Wall-clock times are seconds since the first step began; *_ms are milliseconds of the
// scheduler's virtual clock since the first arrival.
struct RankSample {
  double start_s = 0, planned_s = 0, recorded_s = 0, done_s = 0;  // see RankWork
  std::array<OpTime, kNumOpKinds> ops;                            // sums over the step
  int64_t causal_pairs = 0;
  int64_t rows = 0;
  int64_t padding_rows = 0;
};

struct StepSample {
  double start_s = 0, prepared_s = 0, ran_s = 0, end_s = 0, judged_s = 0;  // see StepTimes
  double virtual_start_ms = 0, virtual_end_ms = 0;
  int64_t prefill_tokens = 0, decode_tokens = 0;  // computed
  int64_t prefills = 0, decodes = 0;              // requests
  int64_t waiting = 0;                            // requests that have come and have not begun
  int64_t reused_tokens = 0;                      // of the requests that begin in this step
  BlockCounts blocks;
  int64_t samples = 0;            // held against the oracle
  std::vector<RankSample> ranks;  // [ranks]
};

struct RequestSample {
  double arrival_ms = 0;
  int64_t prompt_length = 0, output_length = 0;
  int64_t reused_tokens = 0;
  // Indices of steps; -1 if the run did not come so far. The first output token comes from the step
  // that computes the prompt's last token.
  int64_t first_step = -1, first_token_step = -1, last_step = -1;
};

// Used by the thread of Engine::Run.
class Recorder {
 public:
  explicit Recorder(const Workload& workload);

  void Add(const StepWork& work, absl::Span<const RankStep> ranks, const StepTimes& times);
  // Calls Add; the recorder must outlive it.
  StepObserver Observer();

  const std::vector<StepSample>& steps() const { return steps_; }
  const std::vector<RequestSample>& requests() const { return requests_; }  // [the workload's]

 private:
  double Seconds(absl::Time time) const { return absl::ToDoubleSeconds(time - start_); }
  void AddEntry(const StepEntry& entry, StepSample& step);

  absl::Time start_;
  std::vector<StepSample> steps_;
  std::vector<RequestSample> requests_;
  int64_t begun_ = 0;    // requests
  int64_t arrived_ = 0;  // requests; they come in order
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_RECORDER_H_
