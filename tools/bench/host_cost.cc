// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/host_cost.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/status_macros.h"
#include "testing/device_io.h"
#include "tools/bench/attention_workload.h"

namespace weft::bench {
namespace {

constexpr int64_t kLayers = 32;
constexpr int64_t kMinRounds = 3;

void SetTimes(std::vector<double> times, Row& row) {
  std::sort(times.begin(), times.end());
  row.seconds = times[times.size() / 2];
  row.fastest = times.front();
  row.slowest = times.back();
  row.replays = static_cast<int64_t>(times.size());
}

Row NotMeasured(const absl::Status& why) {
  Row row;
  row.verdict = Verdict::kNotMeasured;
  row.note = std::string(why.message());
  return row;
}

// Seconds of one Forward, the median of rounds of kLayers; the wait behind each does not count.
absl::StatusOr<Row> Measure(Session& session, AttentionWorkload& workload, int64_t submits) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue, session.backend().CreateQueue());
  std::vector<double> times;
  double sum = 0.0;
  while (static_cast<int64_t>(times.size()) < kMinRounds || sum < session.preset().case_seconds) {
    const int64_t start = absl::GetCurrentTimeNanos();
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      RETURN_IF_ERROR(workload.Forward(*queue, 0));
      if (submits > 1) RETURN_IF_ERROR(queue->Submit());
    }
    RETURN_IF_ERROR(queue->Submit());
    const auto elapsed = static_cast<double>(absl::GetCurrentTimeNanos() - start) * 1e-9;
    RETURN_IF_ERROR(queue->Wait(absl::Now() + absl::Minutes(5)));
    if (sum == 0.0) {  // the first makes what later ones find
      sum = elapsed;
      continue;
    }
    times.push_back(elapsed / kLayers);
    sum += elapsed;
  }
  Row row;
  SetTimes(times, row);
  row.calls = kLayers;
  return row;
}

// The driver's part: the host's seconds for a kernel that does nothing, `launches` in a row.
Row MeasureLaunch(Session& session, int64_t launches) {
  Row row;
  row.note = "host, a kernel that does nothing";
  std::vector<double> times;
  double sum = 0.0;
  while (static_cast<int64_t>(times.size()) < kMinRounds || sum < session.preset().case_seconds) {
    const absl::StatusOr<double> seconds = session.tools().LaunchSeconds(launches);
    if (!seconds.ok()) return NotMeasured(seconds.status());
    sum += *seconds * static_cast<double>(launches);
    times.push_back(*seconds);
  }
  SetTimes(times, row);
  row.calls = launches;
  return row;
}

// The host's seconds for each of the `kernels` kernels of a layer, all layers started as one.
absl::StatusOr<Row> MeasureReplay(Session& session, AttentionWorkload& workload, int64_t kernels) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Replay> replay,
                   session.tools().Record(kLayers, [&](Queue& queue, int64_t) -> absl::Status {
                     return workload.Forward(queue, 0);
                   }));
  std::vector<double> times;
  double sum = 0.0;
  while (static_cast<int64_t>(times.size()) < kMinRounds || sum < session.preset().case_seconds) {
    ASSIGN_OR_RETURN(const double device_seconds, replay->Run());
    ASSIGN_OR_RETURN(const double host_seconds, replay->HostSeconds());
    sum += std::max(device_seconds, host_seconds);
    times.push_back(host_seconds / static_cast<double>(kLayers * kernels));
  }
  Row row;
  SetTimes(times, row);
  row.calls = kLayers;
  row.note = absl::StrCat("host, for each of ", kernels, " kernels, ", kLayers, " layers replayed");
  return row;
}

}  // namespace

absl::StatusOr<std::vector<Row>> MeasureHostCost(Session& session, const Case& c, bool check) {
  ASSIGN_OR_RETURN(const auto workload, AttentionWorkload::Create(session, c));
  if (check) RETURN_IF_ERROR(workload->Check());
  ASSIGN_OR_RETURN(Row shared, Measure(session, *workload, 1));
  shared.name = c.full_name();
  shared.note = absl::StrCat("host, ", kLayers, " layers in a Submit");
  ASSIGN_OR_RETURN(Row own, Measure(session, *workload, kLayers));
  own.name = absl::StrCat(c.full_name(), ".submit");
  own.note = "host, a Submit each";
  std::vector<Row> rows = {shared, own};
  Row kernel = shared;
  const absl::StatusOr<int64_t> kernels = session.tools().CountKernels(
      [&](Queue& queue, int64_t) { return workload->Forward(queue, 0); });
  if (kernels.ok() && *kernels > 0) {
    kernel.note = absl::StrCat("host, for each of ", *kernels, " kernels");
    for (double* time : {&kernel.seconds, &kernel.fastest, &kernel.slowest}) {
      *time /= static_cast<double>(*kernels);
    }
  } else {
    kernel = NotMeasured(kernels.status());
  }
  kernel.name = absl::StrCat(c.full_name(), ".kernel");
  Row launch = MeasureLaunch(session, kLayers * std::max<int64_t>(1, kernels.value_or(1)));
  launch.name = absl::StrCat(c.full_name(), ".launch");
  kernel.floor_seconds = launch.seconds;
  const absl::StatusOr<Row> replayed =
      kernels.ok() ? MeasureReplay(session, *workload, std::max<int64_t>(1, *kernels))
                   : kernels.status();
  Row replay = replayed.ok() ? *replayed : NotMeasured(replayed.status());
  replay.name = absl::StrCat(c.full_name(), ".replay");
  for (Row* row : {&kernel, &launch, &replay}) rows.push_back(*row);
  return rows;
}

}  // namespace weft::bench
