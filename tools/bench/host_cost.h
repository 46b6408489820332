// SPDX-License-Identifier: Apache-2.0
//
// What a prepared Forward costs the host.
#ifndef WEFT_TOOLS_BENCH_HOST_COST_H_
#define WEFT_TOOLS_BENCH_HOST_COST_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tools/bench/cases.h"
#include "tools/bench/result.h"
#include "tools/bench/session.h"

namespace weft::bench {

// NAME: seconds of the host for one Forward and its share of a Submit, 32 layers in each, as a step
// of a model has them. NAME.submit: with a Submit of its own. NAME.kernel: the first, for each
// kernel that it starts, where these can be counted; its floor is NAME.launch, what the driver
// takes for a kernel that does nothing. NAME.replay: likewise for each kernel, where the layers
// have been captured and the host starts them as one (a CUDA graph). On a backend that computes in
// Submit (the reference) all but the last hold that work too.
absl::StatusOr<std::vector<Row>> MeasureHostCost(Session& session, const Case& c, bool check);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_HOST_COST_H_
