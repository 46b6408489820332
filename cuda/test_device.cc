// SPDX-License-Identifier: Apache-2.0
#include "cuda/test_device.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/registry.h"

namespace weft::cuda {

absl::StatusOr<std::shared_ptr<Backend>> TestDevice() {
  absl::StatusOr<std::shared_ptr<Backend>> backend = Registry::Default().Create("cuda:0");
  if (backend.ok() || !absl::IsUnavailable(backend.status())) return backend;
  const char* required = std::getenv("WEFT_REQUIRE_BACKENDS");
  for (const std::string& name :
       std::vector<std::string>(absl::StrSplit(required == nullptr ? "" : required, ','))) {
    if (name != "cuda") continue;
    return absl::FailedPreconditionError(
        absl::StrCat("WEFT_REQUIRE_BACKENDS names cuda: ", backend.status().message()));
  }
  return backend;
}

}  // namespace weft::cuda
