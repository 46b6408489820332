// SPDX-License-Identifier: Apache-2.0
//
// PackSeq and UnpackSeq: sequences of different lengths, one after the other, to and from a batch
// of equal lengths (seeds 000 and 001, pack_seq_triton and unpack_seq_triton; docs/pcp_spec.md,
// 13). Index maps over Queue::GatherRows: a row is moved bit by bit, whatever its dtype.
//
//   ASSIGN_OR_RETURN(SeqIndex index, SeqIndex::Create(*backend, /*max_rows=*/B * Lmax));
//   RETURN_IF_ERROR(PackSeq(*queue, index, x, lengths, -INFINITY, packed));
#ifndef WEFT_CORE_OPS_PACK_SEQ_H_
#define WEFT_CORE_OPS_PACK_SEQ_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

// Device memory for the index of one call. Calls on one queue may share it, since the queue runs
// them in order; two queues need one each. Must outlive the work.
class SeqIndex {
 public:
  // `max_rows` rows of results: B * Lmax to pack, sum of lengths to unpack. Allocate's errors.
  static absl::StatusOr<SeqIndex> Create(Backend& backend, int64_t max_rows);

  int64_t max_rows() const { return buffer_->size_bytes() / 8; }
  uint64_t address() const { return buffer_->address(); }
  DeviceId device() const { return buffer_->device(); }

 private:
  explicit SeqIndex(std::unique_ptr<Buffer> buffer) : buffer_(std::move(buffer)) {}
  std::unique_ptr<Buffer> buffer_;
};

// packed[b, t] = x[start(b) + t] for t < lengths[b], every element `pad_value` elsewhere; start(b)
// is the sum of the lengths before b.
//
// x [N, ...] and packed [B, Lmax, ...]: contiguous, the same dtype (any) and trailing extents, at
// least one; rows of x behind the last sequence are not looked at. `pad_value` is converted to the
// dtype; of integers it must be one that the dtype holds. Lengths stay on the host. Records a copy
// of the index and one gather; never allocates device memory, never waits.
//
// INVALID_ARGUMENT: no sequences; a negative length, one longer than Lmax, or one that reaches
// behind x (each with its number); shapes; a pad value that an integer dtype cannot hold.
// RESOURCE_EXHAUSTED: more rows than `index` has room for. The errors of GatherRows.
absl::Status PackSeq(Queue& queue, const SeqIndex& index, const TensorView& x,
                     absl::Span<const int64_t> lengths, float pad_value, const TensorView& packed);

// The inverse: x[start(b) + t] = packed[b, t]; padding is ignored, rows of x behind the last
// sequence are untouched. Shapes and errors as above.
absl::Status UnpackSeq(Queue& queue, const SeqIndex& index, const TensorView& packed,
                       absl::Span<const int64_t> lengths, const TensorView& x);

}  // namespace weft

#endif  // WEFT_CORE_OPS_PACK_SEQ_H_
