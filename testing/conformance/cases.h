// SPDX-License-Identifier: Apache-2.0
//
// The cases that every backend must pass, one line each. A list only grows; taking a line out needs
// a reason in the commit. Tiny, since a software device runs them too, and with few distinct
// (dtype, head size): each costs a backend kernels to compile.
#ifndef WEFT_TESTING_CONFORMANCE_CASES_H_
#define WEFT_TESTING_CONFORMANCE_CASES_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/backend.h"

namespace weft::testing {

// Lines for all operations; then a few that come of seeds, and those of PairwiseLines.
std::vector<std::string> CaseLines();

// Lines that every property of AttentionProperties() is checked with.
std::vector<std::string> PropertyLines();

// Parses a line of any op and checks it. What a pasted line goes through.
absl::Status CheckCaseLine(Backend& backend, std::string_view line);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_CASES_H_
