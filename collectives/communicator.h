// SPDX-License-Identifier: Apache-2.0
//
// Communicator: one rank's end of a group of ranks that move tensors between them.
//
//   communicator->SetStep(step, partition.fingerprint());
//   RETURN_IF_ERROR(communicator->AllGather(queue, rows, all_rows, absl::Now() + timeout));
//
// All ranks make the same calls in the same order, also the ones that have nothing to give: a call
// with zero bytes is legal and takes part like any other. Every call
//   1. checks its arguments. INVALID_ARGUMENT (shape, dtype, layout, device) and OUT_OF_RANGE
//      (memory that no live allocation holds) concern this call alone: the rank has not joined, and
//      its peers go on waiting for it until their deadlines; a caller that gives up calls Abort.
//   2. submits the caller's queue and waits for it: what was recorded before may produce `send`.
//   3. blocks until the operation is done on this rank: `receive` is complete and `send` may be
//      overwritten when it returns OK.
// From step 2 on an error is the group's: every rank gets it, and every later call on every rank
// returns the same error. FAILED_PRECONDITION: the ranks do not agree on the call or on the step;
// nothing was moved. DEADLINE_EXCEEDED: somebody did not come in time, and who. ABORTED: a rank
// left or gave up. Or what a device said. `receive` is undefined then.
//
// Views are contiguous device memory of the queue's device. Where receive may be `send` itself (in
// place) the call says so; any other overlap is INVALID_ARGUMENT.
#ifndef WEFT_COLLECTIVES_COMMUNICATOR_H_
#define WEFT_COLLECTIVES_COMMUNICATOR_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/flight_recorder.h"
#include "core/address_map.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

struct CollectiveStats {
  int64_t calls = 0;  // that returned OK
  // Bytes of other ranks' data that this rank needed, each counted once: the traffic of an
  // algorithm that sends every contribution straight to who wants it, whatever the implementation
  // does. For W ranks: AllGather (W - 1) * send; ReduceScatter (W - 1) * receive; AllReduce
  // (W - 1) * receive; Broadcast the buffer, 0 on the root; Barrier 0.
  int64_t bytes_received = 0;
};

// One thread at a time, except for Abort, status and FlightRecord, which any thread may call.
// Destroying it leaves the group, without waiting for anyone; what peers still call then fails
// with ABORTED.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int64_t rank() const { return rank_; }
  int64_t world_size() const { return world_size_; }

  // What the following calls belong to. Ranks whose step or fingerprint (of a PcpPartition, say)
  // differ get FAILED_PRECONDITION before any data moves.
  void SetStep(uint64_t step, uint64_t fingerprint);

  // receive[p * n + i] = send[i] of rank p. send [n, ...], receive [W * n, ...], any dtype. In
  // place: send is this rank's part of receive.
  absl::Status AllGather(Queue& queue, const TensorView& send, const TensorView& receive,
                         absl::Time deadline);

  // receive[i] = sum over ranks of send[rank() * n + i]. send [W * n, ...], receive [n, ...]. In
  // place: receive is this rank's part of send.
  //
  // Sums, here and in AllReduce, are taken over ranks 0, 1, ... in that order, f16 and bf16 in f32
  // and rounded once at the end, integers modulo their width: the same bits in every run and on
  // every rank.
  absl::Status ReduceScatter(Queue& queue, const TensorView& send, const TensorView& receive,
                             absl::Time deadline);

  // receive[i] = sum over ranks of send[i]. The same shape; in place: the same memory.
  absl::Status AllReduce(Queue& queue, const TensorView& send, const TensorView& receive,
                         absl::Time deadline);

  // buffer[i] = buffer[i] of rank `root`, 0 <= root < W. Any dtype.
  absl::Status Broadcast(Queue& queue, const TensorView& buffer, int64_t root, absl::Time deadline);

  // Returns when every rank has called it. Waits for no queue.
  absl::Status Barrier(absl::Time deadline);

  // Fails the group, unless it has failed already: wakes all who wait, with the code and text of
  // `reason` and this rank's number. An OK reason stands for ABORTED.
  void Abort(const absl::Status& reason);

  // OK, or the error of the group that all calls return.
  absl::Status status() const { return DoStatus(); }

  // Since the communicator was made.
  const CollectiveStats& stats(CollectiveKind kind) const {
    return stats_[static_cast<size_t>(kind)];
  }
  // Over all kinds.
  int64_t bytes_received() const;

  // The last calls of this rank, oldest first, a line each; for error reports.
  std::string FlightRecord() const { return recorder_.ToString(); }

 protected:
  // One checked call.
  struct Call {
    CollectiveKind kind = CollectiveKind::kBarrier;
    uint64_t sequence = 0;  // 1, 2, ... over the calls of this rank
    uint64_t step = 0;
    uint64_t fingerprint = 0;
    TensorView send;     // not given for Barrier; Broadcast: the buffer
    TensorView receive;  // not given for Barrier and Broadcast
    int64_t root = 0;    // of Broadcast
  };

  Communicator(int64_t rank, int64_t world_size);

  // What an implementation does. `queue` is idle, null for Barrier. Any error must have become the
  // group's before it is returned.
  virtual absl::Status DoCall(const Call& call, Queue* queue, absl::Time deadline) = 0;
  // Thread-safe. `failure` is not OK.
  virtual void DoAbort(const absl::Status& failure) = 0;
  virtual absl::Status DoStatus() const = 0;

 private:
  absl::Status CheckView(const Queue& queue, CollectiveKind kind, std::string_view name,
                         const TensorView& view) const;
  absl::Status CheckGather(CollectiveKind kind, std::string_view part_name, const TensorView& part,
                           std::string_view whole_name, const TensorView& whole) const;
  absl::Status CheckOverlap(CollectiveKind kind, const TensorView& send, const TensorView& receive,
                            bool in_place) const;
  absl::Status Run(Call call, Queue* queue, absl::Time deadline);
  int64_t BytesReceived(const Call& call) const;

  const int64_t rank_;
  const int64_t world_size_;
  uint64_t sequence_ = 0;
  uint64_t step_ = 0;
  uint64_t fingerprint_ = 0;
  std::array<CollectiveStats, kNumCollectiveKinds> stats_ = {};
  FlightRecorder recorder_;
};

}  // namespace weft

#endif  // WEFT_COLLECTIVES_COMMUNICATOR_H_
