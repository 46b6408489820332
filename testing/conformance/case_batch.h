// SPDX-License-Identifier: Apache-2.0
//
// CaseBatch: the host's side of an AttentionCase: who has which blocks, the metadata and the
// partition, which rows a rank has, and images of the tensors and of the cache, poisoned where
// nobody may look.
#ifndef WEFT_TESTING_CONFORMANCE_CASE_BATCH_H_
#define WEFT_TESTING_CONFORMANCE_CASE_BATCH_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_metadata.h"
#include "core/kv_cache.h"
#include "core/pcp_partition.h"
#include "testing/conformance/attention_case.h"
#include "testing/conformance/cache_image.h"
#include "testing/conformance/strided_image.h"

namespace weft::testing {

// One row of a rank: which token it is, or padding.
struct RankRow {
  int64_t request = -1;  // -1: padding
  int64_t position = 0;
  int64_t token = 0;  // place in the order of the step
};

// The tensors of one rank.
struct RankIo {
  StridedImage query, key, value, out, lse;
};

class CaseBatch {
 public:
  // `c` must outlive it. Blocks are those of requests as long as in `lengths`.
  static absl::StatusOr<CaseBatch> Create(const AttentionCase& c, const AttentionCase& lengths);

  const KvCacheLayout& layout() const { return layout_; }
  const AttentionMetadata& metadata() const { return *metadata_; }
  // With more than one rank.
  const PcpPartition* partition() const { return partition_ ? &*partition_ : nullptr; }

  std::vector<RankRow> RowsOf(int64_t rank) const;
  // The rows of key and value: with ranks, what an all-gather gives.
  std::vector<RankRow> WrittenRows() const;

  // Padding rows, and what follows the last row, is poison.
  RankIo MakeIo(const std::vector<RankRow>& rows) const;
  // A state to be merged: f32, dense.
  RankIo MakeState(int64_t rows) const;

  // The cache before the step: the tokens of the contexts that are still needed, and with
  // KeyMode::kShared the new ones; PoisonKind where no token is.
  absl::StatusOr<CacheImage> ContextImage() const;
  // What the step writes.
  void AddWrittenTo(CacheImage& cache) const;

 private:
  explicit CaseBatch(const AttentionCase& c) : case_(&c) {}

  void AssignBlocks(const AttentionCase& lengths);
  absl::Status BuildMetadata();
  int64_t Slot(int64_t request, int64_t position) const;
  void SetToken(CacheImage& cache, int64_t request, int64_t position) const;
  StridedImage HeadsImage(DType dtype, int64_t rows, int64_t heads) const;
  StridedImage LseImage(int64_t rows) const;

  const AttentionCase* case_;
  KvCacheLayout layout_;
  int64_t num_blocks_ = 0;
  std::vector<std::vector<int32_t>> block_ids_;  // of real blocks; then the tail
  std::optional<AttentionMetadata> metadata_;
  std::optional<PcpPartition> partition_;
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_CASE_BATCH_H_
