// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/generator.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/checked_math.h"
#include "tools/replay/random.h"

namespace weft::replay {
namespace {

// The share of values up to `tokens` is `share`; straight lines between.
struct Quantile {
  double share;
  double tokens;
};

constexpr Quantile kInputLengths[] = {{0.0, 891},      {0.1, 964},   {0.25, 2306},  {0.5, 6909},
                                      {0.75, 15367},   {0.9, 27367}, {0.95, 39550}, {0.99, 85400},
                                      {0.999, 121301}, {1.0, 126195}};
constexpr Quantile kOutputLengths[] = {{0.0, 1},      {0.1, 24},  {0.25, 156}, {0.5, 350},
                                       {0.75, 472},   {0.9, 597}, {0.95, 698}, {0.99, 1119},
                                       {0.999, 2000}, {1.0, 2000}};
// Requests of one tick.
constexpr Quantile kArrivals[] = {{0.0, 2},   {0.1, 6},  {0.25, 8}, {0.5, 10},
                                  {0.75, 12}, {0.9, 15}, {1.0, 28}};
constexpr double kTickMs = 3000;

// Chosen so that the shares of reused tokens come out as measured; see the test for how near.
constexpr double kLaterTurnShare = 0.46;  // of requests that go on from an earlier one
constexpr double kRepeatShare = 0.01;     // of requests that are an earlier one once more
constexpr double kLeastPrefix = 0.6;      // of a later turn, what it has in common at least
constexpr int kParentsTried = 48;

template <size_t kSize>
int64_t Draw(const Quantile (&table)[kSize], Random& random) {
  const double share = random.Uniform();
  size_t i = 1;
  while (i + 1 < kSize && share > table[i].share) ++i;
  const Quantile& low = table[i - 1];
  const Quantile& high = table[i];
  const double at = (share - low.share) / (high.share - low.share);
  return static_cast<int64_t>(low.tokens + (high.tokens - low.tokens) * at);
}

int64_t FullBlocks(const TraceRequest& request) { return request.input_length / kHashBlockTokens; }

// How many leading blocks a later turn takes over from an earlier request, and which one that is.
std::vector<int64_t> SharedPrefix(const std::vector<TraceRequest>& earlier, int64_t blocks,
                                  Random& random) {
  const double part = kLeastPrefix + (1.0 - kLeastPrefix) * random.Uniform();
  const auto wanted = static_cast<int64_t>(part * static_cast<double>(blocks));
  const TraceRequest* parent = nullptr;
  for (int i = 0; i < kParentsTried; ++i) {
    const TraceRequest& candidate = earlier[random.Below(static_cast<int64_t>(earlier.size()))];
    if (parent == nullptr || FullBlocks(candidate) > FullBlocks(*parent)) parent = &candidate;
    if (FullBlocks(*parent) >= wanted) break;
  }
  const int64_t shared = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(FullBlocks(*parent), 1));
  return {parent->hash_ids.begin(), std::next(parent->hash_ids.begin(), shared)};
}

}  // namespace

std::vector<TraceRequest> GenerateTrace(int64_t count, uint64_t seed) {
  Random random(Mix(seed, 0x7261636574));
  std::vector<TraceRequest> trace;
  int64_t next_id = 1;  // 0 is the block that all requests begin with
  int64_t left_in_tick = Draw(kArrivals, random);
  double now_ms = 0;
  while (static_cast<int64_t>(trace.size()) < count) {
    if (left_in_tick == 0) {
      now_ms += kTickMs;
      left_in_tick = Draw(kArrivals, random);
    }
    --left_in_tick;
    TraceRequest request;
    const double turn = random.Uniform();
    request.input_length = Draw(kInputLengths, random);
    const int64_t blocks = CeilDiv(request.input_length, kHashBlockTokens);
    if (turn < kRepeatShare && !trace.empty()) {
      request = trace[random.Below(static_cast<int64_t>(trace.size()))];
    } else if (turn < kRepeatShare + kLaterTurnShare && blocks > 2 && !trace.empty()) {
      request.hash_ids = SharedPrefix(trace, blocks, random);
    } else {
      request.hash_ids = {0};
    }
    while (static_cast<int64_t>(request.hash_ids.size()) <
           CeilDiv(request.input_length, kHashBlockTokens)) {
      request.hash_ids.push_back(next_id++);
    }
    request.output_length = Draw(kOutputLengths, random);
    request.arrival_ms = now_ms;
    trace.push_back(std::move(request));
  }
  return trace;
}

}  // namespace weft::replay
