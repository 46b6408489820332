// SPDX-License-Identifier: Apache-2.0
//
// PagedDecode: one new row of each sequence over a paged cache (seed 003,
// kernel_paged_attention_2d, and its partitioned form). Any layout, the 5-D key and 4-D value one
// too; any block size.
#ifndef WEFT_CORE_OPS_PAGED_DECODE_H_
#define WEFT_CORE_OPS_PAGED_DECODE_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_layer.h"
#include "core/backend.h"
#include "core/ops/step_arrays.h"
#include "core/queue.h"

namespace weft {

struct PagedDecodeOptions {
  // The seed's filter_by_query_len. Off: row i is the new token of sequence i, StepArrays'
  // query_start_loc is empty. On: query_start_loc says whose rows are where; sequences of one new
  // token are decoded, rows of all others are untouched.
  bool filter_by_query_len = false;
  // Splits the keys of a row into granules over many workgroups, as the seed's partitioned form
  // does. False: one workgroup walks a row's keys.
  bool split = true;
};

struct PagedDecodeIo {
  TensorView query;  // [>= rows, num_heads, head_size]
  TensorView out;    // the same
  TensorView lse;    // f32 [>= rows, num_heads], or not given
  KvCacheView cache;
};

// One thread at a time, one queue.
class PagedDecode {
 public:
  // Slow; allocates all that calls need. The errors of AttentionLayer::Create and Allocate.
  // limits.max_decode_rows counts for nothing: rows are at most max_rows.
  static absl::StatusOr<std::unique_ptr<PagedDecode>> Create(
      std::shared_ptr<Backend> backend, const AttentionSpec& spec, const KvCacheLayout& layout,
      const OpLimits& limits, const PagedDecodeOptions& options = {});

  // As UnifiedAttention's. INVALID_ARGUMENT also: query_start_loc given or missing against
  // filter_by_query_len; a sequence without keys (unfiltered).
  absl::Status Update(Queue& queue, const StepArrays& arrays, const KvCacheView& cache);
  absl::Status Attend(Queue& queue, const PagedDecodeIo& io) const;
  absl::Status Run(Queue& queue, const StepArrays& arrays, const PagedDecodeIo& io);

  // Of the last Update; null before.
  const Plan* plan() const { return step_->plan(); }

 private:
  PagedDecode(AttentionLayer layer, std::unique_ptr<StepBuffers> step,
              const PagedDecodeOptions& options)
      : layer_(std::move(layer)), step_(std::move(step)), options_(options) {}

  AttentionLayer layer_;
  std::unique_ptr<StepBuffers> step_;
  PagedDecodeOptions options_;
};

}  // namespace weft

#endif  // WEFT_CORE_OPS_PAGED_DECODE_H_
