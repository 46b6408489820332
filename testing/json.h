// SPDX-License-Identifier: Apache-2.0
//
// ParseJson: JSON of files that nobody vouches for. What it gives can be copied, printed and
// destroyed without a thought of the stack: nlohmann's functions recurse, once for each level.
#ifndef WEFT_TESTING_JSON_H_
#define WEFT_TESTING_JSON_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace weft::testing {

inline constexpr int kMaxJsonDepth = 64;

// INVALID_ARGUMENT "not JSON", or that arrays and objects are nested beyond kMaxJsonDepth; the
// message shows nothing of the text.
inline absl::StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  bool too_deep = false;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > kMaxJsonDepth;
    return !too_deep;  // false: the value is not kept
  };
  nlohmann::json value = nlohmann::json::parse(text, watch, /*allow_exceptions=*/false);
  if (too_deep) {
    return absl::InvalidArgumentError(
        absl::StrCat("JSON nested more than ", kMaxJsonDepth, " deep"));
  }
  if (value.is_discarded()) return absl::InvalidArgumentError("not JSON");
  return value;
}

}  // namespace weft::testing

#endif  // WEFT_TESTING_JSON_H_
