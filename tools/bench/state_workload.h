// SPDX-License-Identifier: Apache-2.0
//
// correct_attn_out in place, and merge_attn_states: bf16 [rows, heads, head size].
#ifndef WEFT_TOOLS_BENCH_STATE_WORKLOAD_H_
#define WEFT_TOOLS_BENCH_STATE_WORKLOAD_H_

#include <memory>

#include "absl/status/statusor.h"
#include "tools/bench/cases.h"
#include "tools/bench/session.h"
#include "tools/bench/workload.h"

namespace weft::bench {

absl::StatusOr<std::unique_ptr<Workload>> MakeCorrectWorkload(Session& session, const Case& c);
absl::StatusOr<std::unique_ptr<Workload>> MakeMergeWorkload(Session& session, const Case& c);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_STATE_WORKLOAD_H_
