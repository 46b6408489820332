// SPDX-License-Identifier: Apache-2.0
//
// A step whose tables are filled up to its limits (StepLimits::pad) gives the bits of one whose
// tables are not, touches no other row and no other slot, and refuses plans of another kind.
#ifndef WEFT_TESTING_CONFORMANCE_PADDED_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_PADDED_CHECKS_H_

#include "absl/status/status.h"
#include "core/backend.h"

namespace weft::testing {

absl::Status CheckPadded(Backend& backend);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_PADDED_CHECKS_H_
