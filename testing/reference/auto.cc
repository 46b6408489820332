// SPDX-License-Identifier: Apache-2.0
//
// Linking this file registers the reference backend in Registry::Default().
#include "absl/log/check.h"
#include "core/registry.h"
#include "testing/reference/reference_backend.h"

namespace weft {
namespace {

const bool kRegistered = [] {
  CHECK_OK(RegisterReferenceBackend(Registry::Default()));
  return true;
}();

}  // namespace
}  // namespace weft
