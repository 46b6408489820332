// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/scale.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace weft::replay {
namespace {

int64_t ScaledLength(double scale, int64_t tokens) {
  return std::max<int64_t>(1, std::llround(scale * static_cast<double>(tokens)));
}

}  // namespace

int64_t ScaledHashBlock(double scale) { return ScaledLength(scale, kHashBlockTokens); }

Workload ScaleTrace(const std::vector<TraceRequest>& trace, double scale) {
  Workload workload;
  workload.hash_block = ScaledHashBlock(scale);
  workload.requests.reserve(trace.size());
  for (const TraceRequest& from : trace) {
    ReplayRequest request;
    request.arrival_ms = from.arrival_ms;
    request.output_length = ScaledLength(scale, from.output_length);
    request.hash_ids = from.hash_ids;
    if (from.hash_ids.empty()) {
      request.prompt_length = ScaledLength(scale, from.input_length);
    } else {
      const auto full = static_cast<int64_t>(from.hash_ids.size()) - 1;
      const int64_t rest = ScaledLength(scale, from.input_length - kHashBlockTokens * full);
      request.prompt_length = full * workload.hash_block + std::min(workload.hash_block, rest);
    }
    workload.requests.push_back(std::move(request));
  }
  return workload;
}

}  // namespace weft::replay
