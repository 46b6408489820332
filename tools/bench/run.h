// SPDX-License-Identifier: Apache-2.0
//
// Runs cases: checks, measures, sets each beside its floor.
#ifndef WEFT_TOOLS_BENCH_RUN_H_
#define WEFT_TOOLS_BENCH_RUN_H_

#include <functional>

#include "absl/status/statusor.h"
#include "tools/bench/result.h"
#include "tools/bench/session.h"

namespace weft::bench {

struct RunOptions {
  bool check = true;
  // Told of each row as it comes.
  std::function<void(const Row&)> on_row = [](const Row&) {};
};

// All cases of the session's preset, after the ceilings. A case that fails is a row and stops
// nothing; an error here is one of the device's before any case.
absl::StatusOr<Results> RunCases(Session& session, const RunOptions& options);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_RUN_H_
