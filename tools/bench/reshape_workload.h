// SPDX-License-Identifier: Apache-2.0
//
// reshape_and_cache: bf16 rows to random slots of a bf16 or fp8 cache.
#ifndef WEFT_TOOLS_BENCH_RESHAPE_WORKLOAD_H_
#define WEFT_TOOLS_BENCH_RESHAPE_WORKLOAD_H_

#include <memory>

#include "absl/status/statusor.h"
#include "tools/bench/cases.h"
#include "tools/bench/session.h"
#include "tools/bench/workload.h"

namespace weft::bench {

absl::StatusOr<std::unique_ptr<Workload>> MakeReshapeWorkload(Session& session, const Case& c);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_RESHAPE_WORKLOAD_H_
