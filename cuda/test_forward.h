// SPDX-License-Identifier: Apache-2.0
//
// A small attention layer with all its tensors on a device, for tests of this folder.
#ifndef WEFT_CUDA_TEST_FORWARD_H_
#define WEFT_CUDA_TEST_FORWARD_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/backend.h"
#include "core/kv_cache.h"
#include "core/plan.h"
#include "core/queue.h"
#include "core/step_buffers.h"

namespace weft::cuda {

// f16, 8 heads over 2 kv heads of 128, blocks of 16. Rows of query, key and value, and what the
// cache held before, are numbers that are the same in every object.
class TestForward {
 public:
  static constexpr int64_t kHeads = 8;
  static constexpr int64_t kKvHeads = 2;
  static constexpr int64_t kHeadSize = 128;
  static constexpr int64_t kBlockSize = 16;
  static constexpr int64_t kNumBlocks = 200;
  static constexpr int64_t kMaxRows = 64;

  struct Part {
    RequestKind kind;
    int64_t new_tokens;
    int64_t computed;
  };
  // From a block id below kNumBlocks to the id that stands for it.
  using PlaceBlock = absl::FunctionRef<int32_t(int32_t)>;

  // Waits until the tensors are there.
  static absl::StatusOr<std::unique_ptr<TestForward>> Create(std::shared_ptr<Backend> backend);

  const std::shared_ptr<Backend>& backend() const { return backend_; }
  Queue& queue() { return *queue_; }  // of its own
  const AttentionLayer& layer() const { return *layer_; }
  const StepLimits& limits() const { return limits_; }
  const KvCacheLayout& layout() const { return layout_; }
  // kNumBlocks blocks in one allocation.
  uint64_t cache_address() const { return cache_->address(); }
  AttentionIo io;  // over the cache above

  // Up to 8 requests, whose blocks follow each other in one fixed, scattered order.
  absl::StatusOr<std::shared_ptr<const Plan>> PlanOf(const std::vector<Part>& parts) const;
  // The same over a cache of `num_blocks` blocks.
  absl::StatusOr<std::shared_ptr<const Plan>> PlanOf(const std::vector<Part>& parts,
                                                     int64_t num_blocks, PlaceBlock place) const;

  // Fills the output with poison; done when it returns.
  absl::Status Poison();
  absl::StatusOr<std::vector<uint8_t>> Output();
  // The output, poisoned before, of a Forward of `plan`, run at once.
  absl::StatusOr<std::vector<uint8_t>> Run(std::shared_ptr<const Plan> plan);

 private:
  explicit TestForward(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}
  absl::Status Init();
  absl::StatusOr<std::unique_ptr<Buffer>> Numbers(int64_t count, uint32_t seed);

  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  KvCacheLayout layout_;
  std::unique_ptr<AttentionLayer> layer_;
  std::unique_ptr<Buffer> query_, key_, value_, cache_, out_;
  StepLimits limits_;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_TEST_FORWARD_H_
