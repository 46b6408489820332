// SPDX-License-Identifier: Apache-2.0
//
// What a run does where the flags leave it open. A function of the trace, the flags and the kind of
// device, never of the clock or the number of ranks: so is the schedule.
#ifndef WEFT_TOOLS_REPLAY_DEFAULTS_H_
#define WEFT_TOOLS_REPLAY_DEFAULTS_H_

#include <cstdint>
#include <vector>

#include "core/backend.h"
#include "tools/replay/preset.h"
#include "tools/replay/scale.h"
#include "tools/replay/scheduler.h"
#include "tools/replay/trace.h"

namespace weft::replay {

// 1 on a GPU. On a software device the largest of 1/2, 1/4, ..., 1/512 for which the run's
// attention is estimated to take half a minute; the rest of a minute is for everything else.
double DefaultScale(const DeviceInfo& device, const std::vector<TraceRequest>& trace,
                    const Preset& preset, int64_t num_layers);

// Tokens of a cache page: a hash block is a whole number of pages where that leaves pages of a
// useful size, so that all of a known prefix can be reused.
int64_t PageTokens(int64_t hash_block);

// A budget that grows with the scale, and a cache for the longest request twice or for 64 average
// ones, on `dcp` ranks together. A block has a page on each of them.
SchedulerConfig DefaultSchedulerConfig(const Workload& workload, double scale, int64_t dcp = 1);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_DEFAULTS_H_
