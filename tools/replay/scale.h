// SPDX-License-Identifier: Apache-2.0
//
// --scale: the same traffic with shorter requests, so that a software device can replay it too.
#ifndef WEFT_TOOLS_REPLAY_SCALE_H_
#define WEFT_TOOLS_REPLAY_SCALE_H_

#include <cstdint>
#include <vector>

#include "tools/replay/trace.h"

namespace weft::replay {

// A request as the engine sees it.
struct ReplayRequest {
  double arrival_ms = 0;
  int64_t prompt_length = 0;      // tokens, >= 1
  int64_t output_length = 0;      // tokens, >= 1
  std::vector<int64_t> hash_ids;  // of blocks of `hash_block` tokens of the prompt; or none

  int64_t total_length() const { return prompt_length + output_length; }
};

struct Workload {
  std::vector<ReplayRequest> requests;
  int64_t hash_block = kHashBlockTokens;
};

// Tokens of a hash block at `scale`, 0 < scale <= 1: max(1, round(512 scale)).
int64_t ScaledHashBlock(double scale);

// n tokens in h hash ids become (h-1) b + min(b, max(1, round(scale (n - 512 (h-1))))) with b the
// scaled block; lengths without ids become max(1, round(scale n)). Times stay.
Workload ScaleTrace(const std::vector<TraceRequest>& trace, double scale);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_SCALE_H_
