// SPDX-License-Identifier: Apache-2.0
#include "collectives/flight_recorder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace weft {

std::string_view Name(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kReduceScatter:
      return "reduce_scatter";
    case CollectiveKind::kAllReduce:
      return "all_reduce";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kBarrier:
      return "barrier";
  }
  return "?";
}

void FlightRecorder::Begin(CollectiveKind kind, uint64_t sequence, uint64_t step, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = entries_[count_++ % kCapacity];
  entry = Entry();
  entry.kind = kind;
  entry.sequence = sequence;
  entry.step = step;
  entry.bytes = bytes;
  entry.start = absl::Now();
}

void FlightRecorder::End(absl::StatusCode result) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = entries_[(count_ - 1) % kCapacity];
  entry.end = absl::Now();
  entry.result = result;
}

std::string FlightRecorder::ToString() const {
  absl::MutexLock lock(&mutex_);
  std::string text;
  for (int64_t i = std::max<int64_t>(0, count_ - kCapacity); i < count_; ++i) {
    const Entry& entry = entries_[i % kCapacity];
    absl::StrAppend(&text, Name(entry.kind), " #", entry.sequence, ", step ", entry.step, ", ",
                    entry.bytes, " bytes, ");
    if (entry.end == absl::InfiniteFuture()) {
      absl::StrAppend(&text, "waiting for ", absl::FormatDuration(absl::Now() - entry.start), "\n");
    } else {
      absl::StrAppend(&text, absl::StatusCodeToString(entry.result), " after ",
                      absl::FormatDuration(entry.end - entry.start), "\n");
    }
  }
  return text;
}

}  // namespace weft
