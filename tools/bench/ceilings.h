// SPDX-License-Identifier: Apache-2.0
//
// The ceilings of a run: device copy and matmul.
#ifndef WEFT_TOOLS_BENCH_CEILINGS_H_
#define WEFT_TOOLS_BENCH_CEILINGS_H_

#include <vector>

#include "absl/status/status.h"
#include "tools/bench/result.h"
#include "tools/bench/session.h"

namespace weft::bench {

// Copies for about the preset's warm-up time, so that clocks are up.
absl::Status WarmUp(Session& session);

// A row for each, also where it could not be measured.
std::vector<Row> MeasureCeilings(Session& session, Ceilings& ceilings);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_CEILINGS_H_
