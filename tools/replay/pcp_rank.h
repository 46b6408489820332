// SPDX-License-Identifier: Apache-2.0
//
// PcpRank: a rank that shares each prefill with the others of its group, or one that is alone. Per
// step plans and tables, and per layer gather, write, attend.
#ifndef WEFT_TOOLS_REPLAY_PCP_RANK_H_
#define WEFT_TOOLS_REPLAY_PCP_RANK_H_

#include <cstdint>
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
#include "core/tensor_view.h"
#include "tools/replay/content.h"
#include "tools/replay/rank.h"
#include "tools/replay/step_work.h"

namespace weft::replay {

class PcpRank : public Rank {
 public:
  // Allocates and poisons everything. `kinds`: layer i is kinds[i % size]; all have the same heads
  // and cache layout. `communicator` may be null if world_size is 1; it and `content` must outlive
  // the rank. Allocate's errors.
  static absl::StatusOr<std::unique_ptr<Rank>> Create(const RankConfig& config,
                                                      std::shared_ptr<Backend> backend,
                                                      const std::vector<AttentionLayer>& kinds,
                                                      const Content& content,
                                                      Communicator* communicator);

 protected:
  absl::Status AllocateMore() override;
  absl::Status Plan(const StepWork& work, RankWork& done) override;
  absl::Status RecordLayer(int64_t layer, const StepWork& work, absl::Time deadline,
                           RankStep& result) override;
  absl::Status RecordRestore(const StepWork& work, bool wanted, absl::Time deadline,
                             RankStep& result) override;

 private:
  // What alike layers share.
  struct Kind {
    explicit Kind(const AttentionLayer& like) : layer(like) {}

    AttentionLayer layer;
    int64_t num_layers = 0;
    std::unique_ptr<StepBuffers> step;
    TensorView query_index;  // of this step
  };

  // The views of one step; see pcp_rank.cc for their shapes.
  struct Views {
    TensorView key_index, restore_index;
    TensorView local_kv, all_kv;
    TensorView local_kv_heads;  // local_kv as one row for each token and head
    TensorView query_rows;      // the query as one row for each token and head
    TensorView local_hidden, gathered_hidden, restored;
    AttentionIo io;
  };

  PcpRank(const RankConfig& config, std::shared_ptr<Backend> backend,
          const std::vector<AttentionLayer>& kinds, const Content& content,
          Communicator* communicator);

  const AttentionSpec& spec() const { return kinds_[0].layer.spec(); }
  absl::Status MakeViews(int64_t rows, int64_t tokens);
  absl::Status UploadIndices(const StepWork& work);

  Communicator* communicator_;
  std::vector<Kind> kinds_;
  int64_t max_rows_ = 0;  // of this rank in a step
  std::unique_ptr<Buffer> indices_, kv_, query_, out_, lse_, gathered_, restored_;
  Views views_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_PCP_RANK_H_
