// SPDX-License-Identifier: Apache-2.0
#include "core/request_batch.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft {

std::string_view Name(RequestKind kind) {
  switch (kind) {
    case RequestKind::kDecode:
      return "decode";
    case RequestKind::kPrefill:
      return "prefill";
  }
  return "unknown";
}

absl::StatusOr<std::vector<RequestKind>> ClassifyRequests(
    absl::Span<const int64_t> num_new_tokens, absl::Span<const int64_t> num_computed_tokens,
    int64_t decode_threshold) {
  if (num_new_tokens.size() != num_computed_tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat("num_new_tokens has ", num_new_tokens.size(),
                                                   " requests, num_computed_tokens has ",
                                                   num_computed_tokens.size()));
  }
  if (decode_threshold < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("decode threshold is ", decode_threshold, ", must be at least 1"));
  }
  std::vector<RequestKind> kinds;
  kinds.reserve(num_new_tokens.size());
  for (size_t i = 0; i < num_new_tokens.size(); ++i) {
    if (num_new_tokens[i] < 0 || num_computed_tokens[i] < 0) {
      const bool is_new = num_new_tokens[i] < 0;
      return absl::InvalidArgumentError(absl::StrCat(
          "request ", i, ": ", is_new ? "num_new_tokens" : "num_computed_tokens", " is ",
          is_new ? num_new_tokens[i] : num_computed_tokens[i], ", must be at least 0"));
    }
    // A fresh prompt is a prefill however short: there is no cache that its rows could share.
    const bool decode = num_new_tokens[i] <= decode_threshold && num_computed_tokens[i] > 0;
    kinds.push_back(decode ? RequestKind::kDecode : RequestKind::kPrefill);
  }
  return kinds;
}

}  // namespace weft
