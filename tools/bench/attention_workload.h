// SPDX-License-Identifier: Apache-2.0
//
// Attention over a paged cache that is there already: decodes, prefills, both in one step.
#ifndef WEFT_TOOLS_BENCH_ATTENTION_WORKLOAD_H_
#define WEFT_TOOLS_BENCH_ATTENTION_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/attention_layer.h"
#include "core/backend.h"
#include "core/kv_cache.h"
#include "core/plan.h"
#include "core/queue.h"
#include "core/request_batch.h"
#include "core/step_buffers.h"
#include "tools/bench/cases.h"
#include "tools/bench/session.h"
#include "tools/bench/workload.h"
#include "tools/replay/kv_pool.h"
#include "tools/replay/random.h"

namespace weft::bench {

// A set is a step of its own: other pages, in random order, and other queries.
class AttentionWorkload final : public Workload {
 public:
  static absl::StatusOr<std::unique_ptr<AttentionWorkload>> Create(Session& session, const Case& c);

  int64_t num_sets() const override { return static_cast<int64_t>(sets_.size()); }
  Work work() const override;
  // Attends only: what is compared leaves the cache alone too.
  absl::Status Record(Queue& queue, int64_t set) override;
  absl::Status Check() override;
  const KvCacheView* cache() const override { return &pool_->view(); }
  TensorView pages(int64_t set) const override { return sets_[set].step->tables().blocks; }

  // A whole Forward, which writes the new tokens to the cache first.
  absl::Status Forward(Queue& queue, int64_t set);

 private:
  struct Set {
    std::vector<std::vector<int32_t>> blocks;  // of each request
    std::shared_ptr<const Plan> plan;
    std::unique_ptr<StepBuffers> step;
    AttentionIo io;
  };
  // A row of the batch, and one of its heads.
  struct Sample {
    int64_t set = 0, request = 0, row = 0, position = 0, head = 0;
  };

  AttentionWorkload(Session& session, const Case& c) : session_(session), case_(c) {}
  absl::Status Init();
  absl::Status MakePool(const KvCacheLayout& layout, int64_t num_sets);
  absl::Status MakeTensors(int64_t num_sets);
  absl::StatusOr<Set> MakeSet(int64_t set, absl::Span<const int32_t> ids);
  std::vector<Sample> ChooseSamples() const;
  absl::Status CheckSample(const Sample& sample, const Noise& queries, const Noise& keys);
  // The element of the noise that the key's dimension 0 is.
  int64_t KeyElement(const Sample& sample, int64_t position) const;

  Session& session_;
  const Case case_;
  AttentionSpec spec_;
  std::vector<Request> requests_;  // without block ids
  int64_t rows_ = 0;
  int64_t blocks_a_set_ = 0;
  std::unique_ptr<AttentionLayer> layer_;
  std::unique_ptr<replay::KvPool> pool_;
  std::unique_ptr<Buffer> query_, out_, new_rows_;
  std::vector<Set> sets_;
};

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_ATTENTION_WORKLOAD_H_
