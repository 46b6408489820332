// SPDX-License-Identifier: Apache-2.0
//
// The numbers of an AttentionCase: a pure function of (seed, request id, position, head), so that a
// request keeps its data in any batch, cut any way. Rounded to the case's dtype.
//
// Planted keys (DataKind::kPlanted). A dropped key among thousands of random ones changes an output
// by less than its tolerance. So a query points at the keys where bugs live, each of which takes a
// good part of the row's weight: position 0, the row itself and the one before, both sides of the
// page that the row is in and of one other page, and both sides of every granule.
#ifndef WEFT_TESTING_CONFORMANCE_ATTENTION_DATA_H_
#define WEFT_TESTING_CONFORMANCE_ATTENTION_DATA_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "testing/compare.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

// All rows of one kind of tensor for one token: [heads, head_size] as bytes of the case's dtype.
// `request` is an index into c.requests.
std::vector<uint8_t> QueryRow(const AttentionCase& c, int64_t request, int64_t position);
std::vector<uint8_t> KeyRow(const AttentionCase& c, int64_t request, int64_t position);
std::vector<uint8_t> ValueRow(const AttentionCase& c, int64_t request, int64_t position);

// What the oracle says, in the order of the step's tokens.
struct ExpectedAttention {
  HostTensor out;                     // [rows, heads, head_size]
  HostTensor lse;                     // [rows, heads]
  std::vector<double> max_abs_logit;  // [rows * heads]
  std::vector<int32_t> request_of_row;
};
ExpectedAttention ExpectAttention(const AttentionCase& c);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_ATTENTION_DATA_H_
