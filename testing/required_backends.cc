// SPDX-License-Identifier: Apache-2.0
#include "testing/required_backends.h"

#include <cstdlib>

#include "absl/strings/str_split.h"

namespace weft::testing {

bool BackendIsRequired(std::string_view device) {
  const char* const required = std::getenv("WEFT_REQUIRE_BACKENDS");
  if (required == nullptr) return false;
  const std::string_view kind = device.substr(0, device.find(':'));
  for (const std::string_view name : absl::StrSplit(required, ',')) {
    if (name == device || name == kind) return true;
  }
  return false;
}

}  // namespace weft::testing
