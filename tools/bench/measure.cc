// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/measure.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/status_macros.h"

namespace weft::bench {
namespace {

// A replay takes at least so long, so that what lies between two of them does not count.
constexpr double kReplaySeconds = 2e-3;
constexpr int64_t kMaxCalls = 512;
constexpr int64_t kColdCalls = 10;
constexpr int64_t kColdRounds = 3;
constexpr int64_t kMinReplays = 3;
constexpr int64_t kMaxReplays = 2000;

DeviceTools::RecordCall InTurn(int64_t sets, DeviceTools::RecordCall record) {
  return [sets, record = std::move(record)](Queue& queue, int64_t call) {
    return record(queue, call % sets);
  };
}

Timing Summarise(std::vector<double> seconds, int64_t calls) {
  std::sort(seconds.begin(), seconds.end());
  const auto each = [&](double sum) { return sum / static_cast<double>(calls); };
  const size_t middle = seconds.size() / 2;
  Timing timing;
  timing.median =
      each(seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2);
  timing.fastest = each(seconds.front());
  timing.slowest = each(seconds.back());
  timing.calls = calls;
  timing.replays = static_cast<int64_t>(seconds.size());
  return timing;
}

// As many whole turns over the sets as a replay should have.
absl::StatusOr<int64_t> CallsOfAReplay(DeviceTools& tools, int64_t sets,
                                       const DeviceTools::RecordCall& record) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Replay> turn, tools.Record(sets, record));
  ASSIGN_OR_RETURN(const double seconds, turn->Run());
  const double wanted = std::ceil(kReplaySeconds / std::max(seconds, 1e-9));
  const int64_t most = std::max<int64_t>(kMaxCalls / sets, 1);
  return sets * static_cast<int64_t>(std::clamp(wanted, 1.0, static_cast<double>(most)));
}

}  // namespace

absl::StatusOr<Timing> MeasureWarm(DeviceTools& tools, int64_t sets, DeviceTools::RecordCall record,
                                   double warm_seconds, double seconds) {
  record = InTurn(sets, std::move(record));
  ASSIGN_OR_RETURN(const int64_t calls, CallsOfAReplay(tools, sets, record));
  ASSIGN_OR_RETURN(const std::unique_ptr<Replay> replay, tools.Record(calls, record));
  const absl::Time warm = absl::Now() + absl::Seconds(warm_seconds);
  do {
    RETURN_IF_ERROR(replay->Run().status());
  } while (absl::Now() < warm);
  std::vector<double> times;
  double sum = 0.0;
  while (static_cast<int64_t>(times.size()) < kMinReplays ||
         (sum < seconds && static_cast<int64_t>(times.size()) < kMaxReplays)) {
    ASSIGN_OR_RETURN(const double time, replay->Run());
    times.push_back(time);
    sum += time;
  }
  return Summarise(std::move(times), calls);
}

absl::StatusOr<Timing> MeasureCold(DeviceTools& tools, int64_t sets, DeviceTools::RecordCall record,
                                   double idle_seconds) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Replay> replay,
                   tools.Record(kColdCalls, InTurn(sets, std::move(record))));
  std::vector<double> times;
  for (int64_t round = 0; round < kColdRounds; ++round) {
    absl::SleepFor(absl::Seconds(idle_seconds));
    ASSIGN_OR_RETURN(const double time, replay->Run());
    times.push_back(time);
  }
  return Summarise(std::move(times), kColdCalls);
}

}  // namespace weft::bench
