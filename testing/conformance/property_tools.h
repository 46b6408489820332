// SPDX-License-Identifier: Apache-2.0
//
// What properties are made of: a case run in two ways, and the two results side by side.
#ifndef WEFT_TESTING_CONFORMANCE_PROPERTY_TOOLS_H_
#define WEFT_TESTING_CONFORMANCE_PROPERTY_TOOLS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "core/backend.h"
#include "testing/conformance/attention_case.h"
#include "testing/conformance/attention_runner.h"

namespace weft::testing {

// Rows [begin, begin + count) of a result.
AttentionOutput RowsOf(const AttentionCase& c, const AttentionOutput& all, int64_t begin,
                       int64_t count);

// OK if `actual`, which comes from `varied`, has the bits of `expected`, the same rows from `base`.
// LSEs are compared if both have them.
absl::Status SameBits(const AttentionCase& base, const AttentionOutput& expected,
                      const AttentionCase& varied, const AttentionOutput& actual);

// Runs `base` and all variations: the same bits.
absl::Status CheckSame(Backend& backend, const AttentionCase& base,
                       const std::vector<AttentionCase>& variations);

// The same outputs within the tolerance of `tolerance_dtype` (and of the output's own dtype). LSEs
// are left to the oracle.
absl::Status CheckClose(Backend& backend, const AttentionCase& base, const AttentionCase& varied,
                        DType tolerance_dtype);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_PROPERTY_TOOLS_H_
