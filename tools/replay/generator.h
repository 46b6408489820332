// SPDX-License-Identifier: Apache-2.0
//
// A trace made up on the spot, so that replay runs with no file at all. Fitted to the published
// numbers of Mooncake's conversation trace (12,031 requests in an hour): lengths, arrivals in ticks
// of 3 s, a first block that all requests share, and later turns that begin with what an earlier
// request has seen.
#ifndef WEFT_TOOLS_REPLAY_GENERATOR_H_
#define WEFT_TOOLS_REPLAY_GENERATOR_H_

#include <cstdint>
#include <vector>

#include "tools/replay/trace.h"

namespace weft::replay {

// `count` requests; the same ones on every machine, and the first n of a longer trace.
std::vector<TraceRequest> GenerateTrace(int64_t count, uint64_t seed);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_GENERATOR_H_
