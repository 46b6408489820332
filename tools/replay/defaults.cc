// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/defaults.h"

#include <algorithm>
#include <cmath>

#include "core/checked_math.h"

namespace weft::replay {
namespace {

// What two cores of a small server do in half a minute, on lavapipe and on the reference backend.
constexpr double kSoftwareOperations = 480e9;

constexpr int64_t kUsualPage = 16;
constexpr int64_t kSmallestUsefulPage = 8;

// (query, visible key) pairs of a request in a layer of that window (0: none).
double CausalPairs(const ReplayRequest& request, int64_t window) {
  const auto length = static_cast<double>(request.total_length());
  const double hidden = window > 0 ? std::max(0.0, length - static_cast<double>(window)) : 0;
  return (length * (length + 1) - hidden * (hidden + 1)) / 2;
}

// Four operations for each head, dimension and (query, visible key) pair: a product and a sum for
// the logit, and for the value. Reuse of prefixes is left out.
double AttentionOperations(const Workload& workload, const Preset& preset, int64_t num_layers) {
  const std::vector<AttentionSpec> kinds = preset.Kinds();
  double pairs = 0;
  for (size_t kind = 0; kind < kinds.size(); ++kind) {
    const auto layers = static_cast<double>(
        CeilDiv(std::max<int64_t>(num_layers - static_cast<int64_t>(kind), 0), kinds.size()));
    for (const ReplayRequest& request : workload.requests) {
      pairs += layers * CausalPairs(request, kinds[kind].window);
    }
  }
  return 4.0 * pairs * static_cast<double>(preset.num_heads * preset.head_size);
}

}  // namespace

double DefaultScale(const DeviceInfo& device, const std::vector<TraceRequest>& trace,
                    const Preset& preset, int64_t num_layers) {
  if (!device.is_software) return 1.0;
  double scale = 0.5;
  while (scale > 1.0 / kHashBlockTokens &&
         AttentionOperations(ScaleTrace(trace, scale), preset, num_layers) > kSoftwareOperations) {
    scale /= 2;
  }
  return scale;
}

int64_t PageTokens(int64_t hash_block) {
  if (hash_block <= kUsualPage) return hash_block;
  for (int64_t page = kUsualPage; page >= kSmallestUsefulPage; --page) {
    if (hash_block % page == 0) return page;
  }
  return kUsualPage;
}

SchedulerConfig DefaultSchedulerConfig(const Workload& workload, double scale, int64_t dcp) {
  SchedulerConfig config;
  config.token_budget = std::clamp<int64_t>(std::llround(8192 * scale), 128, 2048);
  config.max_running = 64;
  const int64_t share =
      workload.hash_block % dcp == 0 ? workload.hash_block / dcp : workload.hash_block;
  config.block_size = PageTokens(share) * dcp;
  int64_t longest = 0, all = 0;
  for (const ReplayRequest& request : workload.requests) {
    longest = std::max(longest, request.total_length());
    all += request.total_length();
  }
  const int64_t average = CeilDiv(all, static_cast<int64_t>(workload.requests.size()));
  config.num_blocks = CeilDiv(std::max(2 * longest, 64 * average), config.block_size) + 1;
  return config;
}

}  // namespace weft::replay
