// SPDX-License-Identifier: Apache-2.0
//
// What a replay says at its end: a table for people, or one JSON object for programs.
#ifndef WEFT_TOOLS_REPLAY_REPORT_H_
#define WEFT_TOOLS_REPLAY_REPORT_H_

#include <cstdint>
#include <string>

#include "core/backend.h"
#include "tools/replay/engine.h"

namespace weft::replay {

// What the numbers belong to.
struct RunLabel {
  DeviceInfo device;
  std::string source;  // the trace's path, or "built-in"
  int64_t requests = 0;
  double scale = 1;
};

// Lines, the last one ended too.
std::string ReportTable(const RunLabel& label, const EngineConfig& config, const RunStats& stats);

// One object on several lines, without a newline at its end.
std::string ReportJson(const RunLabel& label, const EngineConfig& config, const RunStats& stats);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_REPORT_H_
