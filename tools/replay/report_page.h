// SPDX-License-Identifier: Apache-2.0
//
// --report: a run as one HTML page with plots. The page holds everything it needs and loads
// nothing; its sources are in page/.
#ifndef WEFT_TOOLS_REPLAY_REPORT_PAGE_H_
#define WEFT_TOOLS_REPLAY_REPORT_PAGE_H_

#include <string>

#include "tools/replay/recorder.h"
#include "tools/replay/report.h"

namespace weft::replay {

// What the page shows, one JSON object: "summary" is ReportJson, "steps" and "requests" are the
// recorder's samples by columns (_s: seconds of wall clock, virtual_..._ms: of the scheduler's
// clock), "ops" device time by operation and step over all ranks, "ranks" totals of each rank.
std::string ReportPageData(const RunLabel& label, const EngineConfig& config, const RunStats& stats,
                           const Recorder& recorder);

// The page. `data` is JSON; whatever its strings hold, they cannot end the element they stand in.
std::string ReportPage(const std::string& data);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_REPORT_PAGE_H_
