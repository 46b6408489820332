// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/text.h"

#include <charconv>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace weft::replay {

std::string Shown(std::string_view value) {
  // Escaping only grows a string: no need to escape what would be cut away.
  std::string shown = absl::CHexEscape(value.substr(0, kMaxShownChars + 1));
  if (static_cast<int64_t>(shown.size()) <= kMaxShownChars) return shown;
  shown.resize(kMaxShownChars - 3);
  return shown + "...";
}

absl::StatusOr<int64_t> ParseInt(std::string_view text, int64_t low, int64_t high) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = !text.empty() && end == text.data() + text.size();
  if (error == std::errc::invalid_argument || !whole) {
    return absl::InvalidArgumentError("not a whole number");
  }
  if (error != std::errc() || value < low || value > high) {
    if (high == std::numeric_limits<int64_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat("must be at least ", low));
    }
    return absl::InvalidArgumentError(absl::StrCat("must be from ", low, " to ", high));
  }
  return value;
}

}  // namespace weft::replay
