// SPDX-License-Identifier: Apache-2.0
//
// How replay shows what a user typed or wrote in a file: on one line, whatever it was.
#ifndef WEFT_TOOLS_REPLAY_TEXT_H_
#define WEFT_TOOLS_REPLAY_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace weft::replay {

// Longest value that a message shows.
inline constexpr int64_t kMaxShownChars = 80;

// `value` with control characters, quotes and bytes outside ASCII escaped, cut to kMaxShownChars
// characters ("..." counted).
std::string Shown(std::string_view value);

// A whole decimal number in [low, high]. INVALID_ARGUMENT "not a whole number" or "must be from
// LOW to HIGH"; the message does not repeat the text.
absl::StatusOr<int64_t> ParseInt(std::string_view text, int64_t low, int64_t high);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_TEXT_H_
