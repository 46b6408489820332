// SPDX-License-Identifier: Apache-2.0
//
// The device's time of a call: medians of many replays.
#ifndef WEFT_TOOLS_BENCH_MEASURE_H_
#define WEFT_TOOLS_BENCH_MEASURE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "tools/bench/device_tools.h"

namespace weft::bench {

// Seconds of one call.
struct Timing {
  double median = 0.0;
  double fastest = 0.0;
  double slowest = 0.0;
  int64_t calls = 0;  // in a replay
  int64_t replays = 0;
};

// Calls over `sets` sets in turn, replayed for `warm_seconds` of the host's clock and then measured
// for `seconds`, three times at least. The errors of `record` and of the device.
absl::StatusOr<Timing> MeasureWarm(DeviceTools& tools, int64_t sets, DeviceTools::RecordCall record,
                                   double warm_seconds, double seconds);

// The first ten calls after `idle_seconds` without work; the median of three such.
absl::StatusOr<Timing> MeasureCold(DeviceTools& tools, int64_t sets, DeviceTools::RecordCall record,
                                   double idle_seconds);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_MEASURE_H_
