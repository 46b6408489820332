// SPDX-License-Identifier: Apache-2.0
//
// Rank: one member of the PCP group, as an engine would write it: a queue, caches of its own, and
// per step the whole path of the design: plan, tables, and per layer gather, write, attend.
#ifndef WEFT_TOOLS_REPLAY_RANK_H_
#define WEFT_TOOLS_REPLAY_RANK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "core/attention_layer.h"
#include "core/backend.h"
#include "core/queue.h"
#include "core/step_buffers.h"
#include "tools/replay/content.h"
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
  int64_t causal_pairs = 0;
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
  int64_t causal_pairs = 0;
  int64_t rows = 0;
  int64_t padding_rows = 0;
  absl::Duration plan_time;  // on the host: plan, row numbers

  void Add(const RankWork& work);
};

// Used by one thread at a time.
class Rank {
 public:
  // Allocates and poisons everything. `communicator` may be null if world_size is 1; it and
  // `content` must outlive the rank. Allocate's errors.
  static absl::StatusOr<std::unique_ptr<Rank>> Create(const RankConfig& config,
                                                      std::shared_ptr<Backend> backend,
                                                      const AttentionLayer& layer,
                                                      const Content& content,
                                                      Communicator* communicator);

  // Blocks until the step is done. `want_restored`: also bring all rows of the last layer here.
  absl::StatusOr<RankStep> Run(const StepWork& work, bool want_restored);

  const RankTotals& totals() const { return totals_; }
  void set_fault_hook(FaultHook hook) { fault_hook_ = std::move(hook); }

 private:
  Rank(const RankConfig& config, std::shared_ptr<Backend> backend, const AttentionLayer& layer,
       const Content& content, Communicator* communicator)
      : config_(config),
        backend_(std::move(backend)),
        layer_(layer),
        content_(&content),
        communicator_(communicator) {}

  // The views of one step; see rank.cc for their shapes.
  struct Views {
    TensorView key_index, query_index, restore_index;
    TensorView local_kv, all_kv;
    TensorView local_kv_heads;  // local_kv as one row for each token and head
    TensorView query_rows;      // the query as one row for each token and head
    TensorView local_hidden, gathered_hidden, restored;
    AttentionIo io;
  };

  absl::Status Allocate();
  absl::StatusOr<Views> MakeViews(int64_t rows, int64_t tokens) const;
  absl::Status UploadIndices(const StepWork& work, const Views& views);
  absl::Status RunLayer(int64_t layer, const StepWork& work, Views& views, absl::Time deadline,
                        RankStep& result);
  absl::Status Restore(const Views& views, bool wanted, absl::Time deadline, RankStep& result);

  RankConfig config_;
  std::shared_ptr<Backend> backend_;
  AttentionLayer layer_;
  const Content* content_;
  Communicator* communicator_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<StepBuffers> step_;
  std::unique_ptr<Buffer> tables_, indices_, kv_, query_, out_, lse_, gathered_, restored_;
  std::vector<KvPool> pools_;  // [layers]
  int64_t max_rows_ = 0;       // of this rank in a step
  FaultHook fault_hook_;
  RankTotals totals_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_RANK_H_
