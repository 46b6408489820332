// SPDX-License-Identifier: Apache-2.0
//
// Rank: one member of the group that serves a replay, as an engine would write it: a queue, caches
// of its own, and per step the whole path of the design. What it does in a step is that of
// pcp_rank.h or dcp_rank.h.
#ifndef WEFT_TOOLS_REPLAY_RANK_H_
#define WEFT_TOOLS_REPLAY_RANK_H_

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/attention_spec.h"
#include "core/backend.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/step_buffers.h"
#include "tools/replay/content.h"
#include "tools/replay/content_source.h"
#include "tools/replay/kv_pool.h"
#include "tools/replay/step_work.h"

namespace weft::replay {

struct RankConfig {
  int64_t rank = 0;
  int64_t world_size = 1;
  int64_t num_layers = 1;
  int64_t num_blocks = 0;
  int64_t max_tokens = 0;    // of a step
  int64_t max_requests = 0;  // of a step
  int64_t max_seq_len = 0;
  int64_t max_allocation_bytes = 0;  // of a piece of the cache; 0: what the device allows
  absl::Duration timeout;            // of a step
};

// For tests: called when a step's tables are on the device, to spoil them.
using FaultHook =
    std::function<absl::Status(Queue& queue, const StepBuffers& buffers, const Step& step)>;

// What a rank did in one step, and when.
struct RankWork {
  absl::Time start, planned, recorded, done;  // plan and tables; recording, collectives too; device
  std::vector<OpTime> op_times;               // on the device; indexed by OpKind
  int64_t causal_pairs = 0;  // (query row, visible key) of one head, over all layers
  int64_t rows = 0;
  int64_t padding_rows = 0;
};

struct RankStep {
  std::vector<SampleAnswer> answers;  // one for each of the work's samples; filled for this rank's
  // [tokens, heads * head_size] of the last layer, in the step's order; if asked for.
  std::vector<uint8_t> restored;
  RankWork work;
};

struct RankTotals {
  std::vector<OpTime> op_times = std::vector<OpTime>(kNumOpKinds);
  int64_t causal_pairs = 0;  // (query row, visible key) of one head, over all layers
  int64_t rows = 0;
  int64_t padding_rows = 0;
  absl::Duration plan_time;  // on the host: plan, row numbers

  void Add(const RankWork& work);
};

// Used by one thread at a time.
class Rank {
 public:
  virtual ~Rank() = default;
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  // Blocks until the step is done. `want_restored`: also bring all rows of the last layer here.
  absl::StatusOr<RankStep> Run(const StepWork& work, bool want_restored);

  const RankTotals& totals() const { return totals_; }
  void set_fault_hook(FaultHook hook) { fault_hook_ = std::move(hook); }

 protected:
  // `content` must outlive the rank.
  Rank(const RankConfig& config, std::shared_ptr<Backend> backend, const Content& content)
      : config_(config), backend_(std::move(backend)), content_(&content) {}

  // What every rank has: a queue, content, a cache for each layer. Then AllocateMore; waits.
  absl::Status Open(const AttentionSpec& spec, const KvCacheLayout& layout);

  virtual absl::Status AllocateMore() = 0;
  // Host: plans, tables and row numbers to the device. Adds rows and work to `done`.
  virtual absl::Status Plan(const StepWork& work, RankWork& done) = 0;
  virtual absl::Status RecordLayer(int64_t layer, const StepWork& work, absl::Time deadline,
                                   RankStep& result) = 0;
  // All rows of the last layer, in the step's order; `wanted`: to result.restored.
  virtual absl::Status RecordRestore(const StepWork& work, bool wanted, absl::Time deadline,
                                     RankStep& result) = 0;

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(std::initializer_list<int64_t> factors) const;
  // Of this rank's samples in `layer`, output and LSE: out [rows, heads, head_size] and lse [rows,
  // heads] of heads [first_head, ...), contiguous.
  absl::Status CopySamples(int64_t layer, const StepWork& work, const TensorView& out,
                           const TensorView& lse, int64_t first_head, RankStep& result);
  // Requests and positions of the step's rows.
  static void RowsOf(const StepWork& work, std::vector<int64_t>& requests,
                     std::vector<int64_t>& positions);

  RankConfig config_;
  std::shared_ptr<Backend> backend_;
  const Content* content_;
  std::unique_ptr<Queue> queue_;
  ContentSource source_;
  std::vector<KvPool> pools_;  // [layers]
  FaultHook fault_hook_;

 private:
  RankTotals totals_;
};

absl::Span<const uint8_t> AsBytes(const std::vector<int64_t>& values);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_RANK_H_
