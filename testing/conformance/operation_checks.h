// SPDX-License-Identifier: Apache-2.0
//
// Checks of operations that are no case lines: laws, tables, and a step that is captured.
#ifndef WEFT_TESTING_CONFORMANCE_OPERATION_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_OPERATION_CHECKS_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/backend.h"

namespace weft::testing {

struct OperationCheck {
  std::string_view name;
  absl::Status (*check)(Backend& backend);
};

// merge_algebra    testing/conformance/merge_checks.h
// correct_table    docs/pcp_spec.md, 8.1
// all_codes        all fp8 codes through a cache
// capture          a step recorded with the shapes of
// AttentionMetadataBuilder::BuildForGraphCapture
//                  runs again, at the same addresses, with a real batch
// padded           testing/conformance/padded_checks.h
// merge_input      bad arguments of MergeStates, CorrectAttnOut and QuantizeFp8 are refused
const std::vector<OperationCheck>& OperationChecks();

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_OPERATION_CHECKS_H_
