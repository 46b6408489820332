// SPDX-License-Identifier: Apache-2.0
//
// FlightRecorder: the last collective calls of one rank, kept in a ring so that a hang or a
// disagreement can be read afterwards.
#ifndef WEFT_COLLECTIVES_FLIGHT_RECORDER_H_
#define WEFT_COLLECTIVES_FLIGHT_RECORDER_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace weft {

enum class CollectiveKind : uint8_t {
  kAllGather,
  kReduceScatter,
  kAllReduce,
  kBroadcast,
  kBarrier
};
inline constexpr int kNumCollectiveKinds = 5;

// "all_gather", "reduce_scatter", "all_reduce", "broadcast", "barrier".
std::string_view Name(CollectiveKind kind);

// Thread-safe: one thread records, any reads.
class FlightRecorder {
 public:
  static constexpr int64_t kCapacity = 256;

  // A call starts; the last one has ended. `bytes` is what this rank gives.
  void Begin(CollectiveKind kind, uint64_t sequence, uint64_t step, int64_t bytes);
  // The call of the last Begin is over.
  void End(absl::StatusCode result);

  // Oldest first, a line each: "all_gather #12, step 3, 4096 bytes, OK after 1.2ms"; a call that
  // has not ended: "... waiting for 5s".
  std::string ToString() const;

 private:
  struct Entry {
    CollectiveKind kind = CollectiveKind::kBarrier;
    uint64_t sequence = 0;
    uint64_t step = 0;
    int64_t bytes = 0;
    absl::Time start;
    absl::Time end = absl::InfiniteFuture();  // while the call goes on
    absl::StatusCode result = absl::StatusCode::kOk;
  };

  mutable absl::Mutex mutex_;
  std::array<Entry, kCapacity> entries_ ABSL_GUARDED_BY(mutex_);
  int64_t count_ ABSL_GUARDED_BY(mutex_) = 0;  // calls begun; the last is entry (count_ - 1) % 256
};

}  // namespace weft

#endif  // WEFT_COLLECTIVES_FLIGHT_RECORDER_H_
