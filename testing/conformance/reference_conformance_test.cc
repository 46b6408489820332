// SPDX-License-Identifier: Apache-2.0
//
// The reference backend's share of the conformance suite: both of its devices.
#include "testing/conformance/suite.h"
#include "testing/reference/reference_backend.h"

namespace weft::testing {
namespace {

[[maybe_unused]] const bool kRegistered =
    RegisterConformanceBackend("reference:0", RegisterReferenceBackend) &&
    RegisterConformanceBackend("reference:1", RegisterReferenceBackend);

}  // namespace
}  // namespace weft::testing
