// SPDX-License-Identifier: Apache-2.0
//
// DcpRank: a rank of a decode-context-parallel group (docs/pcp_spec.md, 11). Each rank holds a
// share of every sequence's keys and values, dealt out in runs of tokens, and a share of the query
// heads.
//
//   per layer  AllGather the queries over heads
//              -> write the tokens that this rank holds, attend with all heads to its share:
//                 decodes to all of it, prefills to what was there before the step
//              -> merge over ranks by LSE, each rank keeps its heads
//              -> attend with these heads to the step's new tokens (prefills), MergeStates, sinks
//   per step   AllGather the outputs over heads
#ifndef WEFT_TOOLS_REPLAY_DCP_RANK_H_
#define WEFT_TOOLS_REPLAY_DCP_RANK_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/backend.h"
#include "core/dcp_shard.h"
#include "core/step_buffers.h"
#include "core/tensor_view.h"
#include "tools/replay/content.h"
#include "tools/replay/rank.h"
#include "tools/replay/step_work.h"

namespace weft::replay {

// What the layers of a rank look like: the attention over its share of the cache with the heads of
// the whole group, and that over a step's new tokens with its own heads. Both give f32 states.
struct DcpLayers {
  AttentionSpec share, fresh;
  int64_t num_heads = 0;      // of the rank
  int64_t first_head = 0;     // of the rank
  int64_t first_kv_head = 0;  // the one that its first head reads

  // INVALID_ARGUMENT: heads that cannot be dealt out evenly; a window or ALiBi, which weft does not
  // attend to under DCP.
  static absl::StatusOr<DcpLayers> For(const AttentionSpec& spec, int64_t world_size, int64_t rank);
};

class DcpRank : public Rank {
 public:
  // `spec`: of all layers, with the heads of the whole group. `page_tokens`: tokens of a rank in a
  // cache block. `communicator` and `content` must outlive the rank. The errors of DcpLayers::For
  // and of the backend.
  static absl::StatusOr<std::unique_ptr<Rank>> Create(const RankConfig& config,
                                                      std::shared_ptr<Backend> backend,
                                                      const AttentionSpec& spec,
                                                      int64_t page_tokens, const Content& content,
                                                      Communicator* communicator);

 protected:
  absl::Status AllocateMore() override;
  absl::Status Plan(const StepWork& work, RankWork& done) override;
  absl::Status RecordLayer(int64_t layer, const StepWork& work, absl::Time deadline,
                           RankStep& result) override;
  absl::Status RecordRestore(const StepWork& work, bool wanted, absl::Time deadline,
                             RankStep& result) override;

 private:
  // The views of one step of t tokens: H heads of the group, h of the rank, G of keys.
  struct Views {
    TensorView key_index;       // [t * G]
    TensorView query_index;     // [t * h]
    TensorView kv_heads;        // [t * G, 2 * size]
    TensorView own_query_rows;  // [t * h, size]
    AttentionIo share;          // query [t, H, size], out and LSE f32
    AttentionIo
        fresh;  // query [t, h, size], out and LSE f32; its cache are the new keys and values
    TensorView merged, merged_lse;  // [t, h, size] f32, [t, h]
    TensorView out, lse;            // [t, h, size] of the dtype, [t, h]
    TensorView workspace;           // of the collectives; the same in every step
  };

  DcpRank(const RankConfig& config, std::shared_ptr<Backend> backend, const DcpLayers& layers,
          const AttentionLayer& share, const AttentionLayer& fresh, const Content& content,
          Communicator* communicator, const DcpShard& shard);

  absl::Status MakeViews(int64_t tokens);
  absl::Status MakeStateViews(int64_t tokens);
  absl::Status UploadIndices(const StepWork& work);
  absl::Status MergeRanks(absl::Time deadline);

  DcpLayers layers_;
  AttentionLayer share_layer_, fresh_layer_;
  Communicator* communicator_;
  DcpShard shard_;
  AttentionMetadataBuilder builder_;
  std::unique_ptr<StepBuffers> decodes_, context_, fresh_;
  std::unique_ptr<Buffer> sinks_;  // of the rank's heads; null without
  std::unique_ptr<Buffer> indices_, kv_, own_query_, query_, workspace_;
  std::unique_ptr<Buffer> share_out_, share_lse_, merged_out_, merged_lse_;
  std::unique_ptr<Buffer> fresh_out_, fresh_lse_, out_, lse_;
  Views views_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_DCP_RANK_H_
