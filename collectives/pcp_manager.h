// SPDX-License-Identifier: Apache-2.0
//
// PcpManager: prefill context parallelism of one rank, as an engine drives it (seed document 004;
// pcp_spec.md, sections 2, 4 and 5). It keeps the step's partition and the device arrays that go
// with it, at addresses that stay.
//
//   ASSIGN_OR_RETURN(auto manager, PcpManager::Create(backend, communicator, options));
//   // each step
//   ASSIGN_OR_RETURN(int64_t rows, manager->PartitionInputs(queue, positions, request_indices,
//                                                           scheduled, computed, threshold));
//   ASSIGN_OR_RETURN(TensorView padded_slots, manager->PadSlotMapping(queue, slots));
//   ...  // the layers, on `rows` rows
//   RETURN_IF_ERROR(manager->RestoreHiddenStates(queue, hidden, all_hidden, deadline));
//
// An engine that knows its requests' kinds builds the PcpPartition itself and calls SetPartition.
// The formulas hold for a group of one rank too; callers may bypass the manager there.
#ifndef WEFT_COLLECTIVES_PCP_MANAGER_H_
#define WEFT_COLLECTIVES_PCP_MANAGER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "collectives/communicator.h"
#include "core/backend.h"
#include "core/pcp_partition.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

struct PcpManagerOptions {
  // Rows of all ranks that no step exceeds; PcpPartition::SafeCapacity is always enough.
  int64_t max_padded_tokens = 0;
  // KV caches with a slot mapping of their own. Each has its own buffer: one group's padded slots
  // must not overwrite another's.
  int64_t num_kv_groups = 1;
  // Bytes of a row that RestoreHiddenStates takes at most; its scratch has max_padded_tokens such
  // rows. 0: RestoreHiddenStates is not used.
  int64_t max_hidden_row_bytes = 0;
};

// For the thread of its rank, and one queue at a time: the device arrays are written and read in
// the queue's order.
class PcpManager {
 public:
  // Allocates everything. `communicator` gives rank and world size, and must outlive the manager.
  // INVALID_ARGUMENT: a limit out of range. Allocate's errors.
  static absl::StatusOr<std::unique_ptr<PcpManager>> Create(std::shared_ptr<Backend> backend,
                                                            Communicator* communicator,
                                                            const PcpManagerOptions& options);

  // The seed's partition_inputs. R requests, decodes first, kinds by `decode_threshold`
  // (ClassifyRequests). On entry positions and request_indices hold the step's num_tokens entries
  // in global order; on return their first local_total entries, the returned number, are those of
  // this rank's rows. That can be more than num_tokens (a lone one-token prompt has two rows), so
  // both have at least max(num_tokens, local_total) entries: INVALID_ARGUMENT otherwise. The errors
  // of PcpPartition::BuildFromArrays and SetPartition. After an error nothing has changed.
  absl::StatusOr<int64_t> PartitionInputs(Queue& queue, absl::Span<int64_t> positions,
                                          absl::Span<int64_t> request_indices,
                                          absl::Span<const int64_t> num_scheduled_tokens,
                                          absl::Span<const int64_t> num_computed_tokens,
                                          int64_t decode_threshold);

  // Takes over the step's partition: records the copy of its index arrays to the device, and tells
  // the communicator the step, so that ranks that disagree find out. INVALID_ARGUMENT: the
  // partition is for another world size. RESOURCE_EXHAUSTED: it exceeds max_padded_tokens.
  absl::Status SetPartition(Queue& queue, PcpPartition partition);

  // The step's partition; null before the first.
  const PcpPartition* partition() const { return partition_ ? &*partition_ : nullptr; }

  // The seed's pad_slot_mapping: slots of the step's tokens in global order, i64 [num_tokens], to
  // slots of all ranks' rows in padded order, i64 [padded_total], -1 at padding and at copies of
  // decodes. Records a GatherRows. The result lies in the group's buffer and holds until the next
  // call for that group. Where nothing is partitioned (no partition, or one without rows) the input
  // comes back unchanged. INVALID_ARGUMENT: another length, dtype, rank or group.
  absl::StatusOr<TensorView> PadSlotMapping(Queue& queue, const TensorView& slot_mapping,
                                            int64_t kv_group = 0);

  // The seed's restore_hidden_states: the first local_total rows of `hidden` [>= local_total, ...]
  // of all ranks to `out` [num_tokens, ...], contiguous both, any dtype. See
  // collectives/restore_hidden_states.h for what is awaited. FAILED_PRECONDITION: no partition.
  // RESOURCE_EXHAUSTED: a row of more than max_hidden_row_bytes. As in Communicator, a rank whose
  // arguments are refused has not joined.
  absl::Status RestoreHiddenStates(Queue& queue, const TensorView& hidden, const TensorView& out,
                                   absl::Time deadline);

 private:
  PcpManager(std::shared_ptr<Backend> backend, Communicator* communicator,
             const PcpManagerOptions& options);

  absl::StatusOr<TensorView> IndexView(const Buffer& buffer, int64_t count) const;
  absl::Status CheckPartition(const PcpPartition& partition) const;
  absl::Status CheckHidden(const TensorView& hidden) const;

  std::shared_ptr<Backend> backend_;
  Communicator* communicator_;
  PcpManagerOptions options_;
  uint64_t step_ = 0;
  std::optional<PcpPartition> partition_;

  std::unique_ptr<Buffer> pad_index_;      // i64 [max_padded_tokens]
  std::unique_ptr<Buffer> restore_index_;  // i64 [max_padded_tokens], num_tokens of them used
  std::vector<std::unique_ptr<Buffer>> padded_slots_;  // i64 [max_padded_tokens], by KV group
  std::unique_ptr<Buffer> gathered_;  // max_padded_tokens rows; null without RestoreHiddenStates
};

}  // namespace weft

#endif  // WEFT_COLLECTIVES_PCP_MANAGER_H_
