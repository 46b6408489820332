// SPDX-License-Identifier: Apache-2.0
//
// --trace-out: a run in the Trace Event Format, for Perfetto and chrome://tracing. All of it on the
// wall clock:
//
//   steps     each step, in it: prepare, ranks, digest; behind it: oracle, if it was checked
//   rank R    each step, in it: plan, record (collectives wait here), wait for the device
//   rank R on the device
//             each kind of operation, a slice as long as all of its calls in the step together.
//             The devices measure sums, so order and place within the step are made up; a slice's
//             args say so, and how many calls it holds.
//   requests  an async event each, in it prefill and decode
//   counters  tokens and requests of a step, blocks of the cache
#ifndef WEFT_TOOLS_REPLAY_CHROME_TRACE_H_
#define WEFT_TOOLS_REPLAY_CHROME_TRACE_H_

#include <string>

#include "tools/replay/recorder.h"
#include "tools/replay/report.h"

namespace weft::replay {

// One JSON object, an event on each line.
std::string ChromeTrace(const RunLabel& label, const EngineConfig& config,
                        const Recorder& recorder);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_CHROME_TRACE_H_
