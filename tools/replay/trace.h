// SPDX-License-Identifier: Apache-2.0
//
// Trace: a recorded day of an LLM service, one line for each request. Two public formats are read:
//   Mooncake JSONL  {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]},
//                   one id for each 512 tokens of the input; equal ids are equal content
//   Azure CSV       TIMESTAMP,ContextTokens,GeneratedTokens
#ifndef WEFT_TOOLS_REPLAY_TRACE_H_
#define WEFT_TOOLS_REPLAY_TRACE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weft::replay {

// Tokens that one hash id of a Mooncake trace stands for.
inline constexpr int64_t kHashBlockTokens = 512;
// Longer requests are refused: a position must fit int32, and the sum of both lengths too.
inline constexpr int64_t kMaxTraceLength = int64_t{1} << 30;

struct TraceRequest {
  double arrival_ms = 0;          // since the trace's first request
  int64_t input_length = 0;       // tokens, >= 1
  int64_t output_length = 0;      // tokens, >= 1
  std::vector<int64_t> hash_ids;  // ceil(input_length / 512), or none: nothing is shared
};

// Reads and checks the whole file. The format is told by the content: a first line that begins with
// '{' is Mooncake's. Arrivals never go backwards. NOT_FOUND, INVALID_ARGUMENT: one line that names
// the file, the line (counted from 1, blank lines and the header included) and the value.
absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path);

// The same of a file's text; `name` stands in messages.
absl::StatusOr<std::vector<TraceRequest>> ParseTrace(std::string_view text, std::string_view name);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_TRACE_H_
