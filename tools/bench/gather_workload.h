// SPDX-License-Identifier: Apache-2.0
//
// pack_seq and unpack_seq: the one gather that each is, its index on the device already. bf16 rows,
// lengths at random from 1 to the longest.
#ifndef WEFT_TOOLS_BENCH_GATHER_WORKLOAD_H_
#define WEFT_TOOLS_BENCH_GATHER_WORKLOAD_H_

#include <memory>

#include "absl/status/statusor.h"
#include "tools/bench/cases.h"
#include "tools/bench/session.h"
#include "tools/bench/workload.h"

namespace weft::bench {

absl::StatusOr<std::unique_ptr<Workload>> MakeGatherWorkload(Session& session, const Case& c);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_GATHER_WORKLOAD_H_
