// SPDX-License-Identifier: Apache-2.0
//
// StepBuffers: the device mirror of a plan, at addresses that stay, and the workspace. Allocated
// once for given limits; that is what makes it possible to record a step and replay it.
#ifndef WEFT_CORE_STEP_BUFFERS_H_
#define WEFT_CORE_STEP_BUFFERS_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/plan.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

// What no step may exceed.
struct StepLimits {
  int64_t max_slots = 0;          // Plan::slots(): tokens, or world_size * rows of a rank with PCP
  int64_t max_blocks = 0;         // Plan::blocks(): block-table entries of all requests
  int64_t max_tiles = 0;          // prefill tiles and padding; max rows of a rank is always enough
  int64_t max_decode_rows = 0;    // decode tokens
  int64_t max_decode_splits = 0;  // sum over decode tokens of ceil((position + 1) / kGranule)
  int64_t workspace_bytes = 0;    // WorkspaceBytes(max_decode_splits, ...) is always enough
  int64_t max_rows = 0;           // Plan::num_rows(); looked at if `pad` is set

  // For a step that is captured once and replayed with other plans (a CUDA graph): the numbers of
  // entries are part of what is captured, so every step shows those of the limits. Behind a plan's
  // own entries stand some that do nothing: slots of -1, tiles of 0 rows, decode rows of 0
  // granules, splits of decode row -1. Query, out and LSE hold max_rows rows then, key and value
  // max_slots. What does nothing still costs a little, so engines capture for several sizes.
  bool pad = false;

  // Enough for any step of at most `max_rows` rows of a rank over `max_requests` requests of at
  // most `max_seq_len` tokens.
  static absl::StatusOr<StepLimits> For(const AttentionSpec& spec, const KvCacheLayout& layout,
                                        int64_t world_size, int64_t max_rows, int64_t max_requests,
                                        int64_t max_seq_len, int64_t max_decode_tokens);
};

class StepBuffers {
 public:
  // INVALID_ARGUMENT: a negative limit. Allocate's errors.
  static absl::StatusOr<std::unique_ptr<StepBuffers>> Create(std::shared_ptr<Backend> backend,
                                                             const StepLimits& limits);

  // Records the copy of the plan's tables; the only host-to-device copy of a step. Takes the data
  // over before it returns. RESOURCE_EXHAUSTED names the limit and the need, and leaves the former
  // plan in place. FAILED_PRECONDITION: a queue of another device; with StepLimits::pad, a plan
  // that no replay of a step captured with the former one may see: of another kind of layer, for
  // another number of cache blocks, or of another scope.
  absl::Status Update(Queue& queue, std::shared_ptr<const Plan> plan);

  // The plan of the last Update; null before.
  const Plan* plan() const { return plan_.get(); }

  // Rows that query and out must hold: the last plan's, or StepLimits::max_rows of padded ones.
  int64_t num_rows() const;

  // Views of the tables of the last plan. Their addresses never change; nor do their extents, if
  // they are padded.
  const AttentionTables& tables() const { return tables_; }
  const TensorView& slots() const { return slots_; }

 private:
  StepBuffers() = default;

  // One array of the mirror: its fixed place, and how many bytes a step may use of it.
  struct Section {
    int64_t offset = 0;
    int64_t bytes = 0;
  };

  // Extents of the tables.
  struct Counts {
    int64_t slots, blocks, tiles, decode_rows, decode_splits, partials, workspace_bytes;
  };

  absl::Status CheckPlan(const Plan& plan) const;
  Counts CountsOf(const Plan& plan) const;
  absl::Status CopyTables(Queue& queue, const Plan& plan) const;
  absl::Status CopyPaddedTables(Queue& queue, const Plan& plan) const;

  std::shared_ptr<Backend> backend_;
  StepLimits limits_;
  std::unique_ptr<Buffer> mirror_;
  std::unique_ptr<Buffer> workspace_;
  Section slots_section_, blocks_section_, tiles_section_, rows_section_, splits_section_;
  std::shared_ptr<const Plan> plan_;
  AttentionTables tables_;
  TensorView slots_;
};

}  // namespace weft

#endif  // WEFT_CORE_STEP_BUFFERS_H_
