// SPDX-License-Identifier: Apache-2.0
#include "cuda/test_device.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/registry.h"
#include "testing/required_backends.h"

namespace weft::cuda {

absl::StatusOr<std::shared_ptr<Backend>> TestDevice() {
  absl::StatusOr<std::shared_ptr<Backend>> backend = Registry::Default().Create("cuda:0");
  if (backend.ok() || !absl::IsUnavailable(backend.status())) return backend;
  if (!testing::BackendIsRequired("cuda")) return backend;
  return absl::FailedPreconditionError(
      absl::StrCat("WEFT_REQUIRE_BACKENDS names cuda: ", backend.status().message()));
}

}  // namespace weft::cuda
