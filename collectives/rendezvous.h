// SPDX-License-Identifier: Apache-2.0
//
// Rendezvous: where the threads of an in-process group meet. Each rank posts what it is about to
// do; when all have come, the posts are compared, and everybody gets all of them or the same error.
#ifndef WEFT_COLLECTIVES_RENDEZVOUS_H_
#define WEFT_COLLECTIVES_RENDEZVOUS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "collectives/flight_recorder.h"
#include "core/address_map.h"
#include "core/dtype.h"

namespace weft {

struct RendezvousPost {
  // Must be the same on every rank.
  CollectiveKind kind = CollectiveKind::kBarrier;
  uint64_t sequence = 0;
  uint64_t step = 0;
  uint64_t fingerprint = 0;
  int64_t elements = 0;
  DType dtype = DType::kF32;
  int64_t root = 0;

  // What this rank shows its peers: an address in device memory, or bytes on the host.
  uint64_t address = 0;
  const AddressMap* memory = nullptr;  // the allocations that `address` is of
  std::shared_ptr<const std::vector<uint8_t>> staged;
  // The peers may read `address` after the meeting, until they have called EndReading.
  bool lends = false;
};

using RendezvousPosts = std::shared_ptr<const std::vector<RendezvousPost>>;

// True if every rank can read what the others lend.
bool ShareMemory(const std::vector<RendezvousPost>& posts);

// Thread-safe. After the first failure every call returns that same error.
class Rendezvous {
 public:
  explicit Rendezvous(int64_t world_size);

  // Blocks until all ranks have come; returns their posts, indexed by rank. FAILED_PRECONDITION:
  // they do not agree. DEADLINE_EXCEEDED: at `deadline` some were missing. ABORTED: one of those
  // who are missing has left. All three become the group's failure.
  absl::StatusOr<RendezvousPosts> Meet(int64_t rank, const RendezvousPost& post,
                                       absl::Time deadline);

  // After a meeting whose posts lend memory that all share: each rank says once that it reads no
  // more of it.
  void EndReading();
  // Before memory that was lent is given back after a failure: waits until nobody reads it any
  // more, at most for `patience`.
  void AwaitReaders(absl::Duration patience);

  // Sets the group's failure, unless there is one, and wakes all who wait.
  void Fail(const absl::Status& failure);
  // This rank will not come again. Does not wait.
  void Leave(int64_t rank);

  absl::Status status() const;

 private:
  absl::Status CheckAgreement() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailLocked(const absl::Status& failure) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CompleteRound() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A rank that has left and is missing in this round; -1 if there is none.
  int64_t MissingForGood() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string Missing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t world_size_;
  mutable absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::vector<bool> left_ ABSL_GUARDED_BY(mutex_);  // by rank
  int64_t readers_ ABSL_GUARDED_BY(mutex_) = 0;     // ranks that may be reading lent memory

  // The meeting that is being waited for.
  uint64_t round_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<RendezvousPost> posts_ ABSL_GUARDED_BY(mutex_);  // by rank
  std::vector<bool> arrived_ ABSL_GUARDED_BY(mutex_);          // by rank
  int64_t num_arrived_ ABSL_GUARDED_BY(mutex_) = 0;

  // The posts of the last meeting, until the last rank has taken them.
  RendezvousPosts agreed_ ABSL_GUARDED_BY(mutex_);
  int64_t num_taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace weft

#endif  // WEFT_COLLECTIVES_RENDEZVOUS_H_
