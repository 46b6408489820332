// SPDX-License-Identifier: Apache-2.0
//
// The numbers of an AttentionCase: a pure function of (seed, request id, position, head), so that a
// request keeps its data in any batch, cut any way. Rounded to the case's dtype.
//
// Planted keys (DataKind::kPlanted). A dropped key among thousands of random ones changes an output
// by less than its tolerance. So a query points at the keys where bugs live, each of which takes a
// good part of the row's weight: position 0, the row itself and the one before, both sides of the
// page that the row is in and of one other page, both sides of every granule, and both sides of the
// window's edge.
#ifndef WEFT_TESTING_CONFORMANCE_ATTENTION_DATA_H_
#define WEFT_TESTING_CONFORMANCE_ATTENTION_DATA_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "testing/compare.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

// All rows of one kind of tensor for one token: [heads, head_size] as bytes. `request` is an index
// into c.requests.
std::vector<uint8_t> QueryRow(const AttentionCase& c, int64_t request, int64_t position);
// As c.dtype.
std::vector<uint8_t> KeyRow(const AttentionCase& c, int64_t request, int64_t position);
std::vector<uint8_t> ValueRow(const AttentionCase& c, int64_t request, int64_t position);
// The same as `dtype`: quantised with the case's scales if that is an fp8 type.
std::vector<uint8_t> KeyRowAs(const AttentionCase& c, DType dtype, int64_t request,
                              int64_t position);
std::vector<uint8_t> ValueRowAs(const AttentionCase& c, DType dtype, int64_t request,
                                int64_t position);

// The keys that a row sees, by the case's window and KeyMode: [first, end).
struct VisibleRange {
  int64_t first = 0;
  int64_t end = 0;
};
VisibleRange VisibleKeys(const AttentionCase& c, int64_t request, int64_t position);
// Positions before this one are behind every window of the request: nobody may read them.
int64_t FirstNeeded(const AttentionCase& c, const CaseRequest& request);

// What the oracle says, in the order of the step's tokens; 0 for rows that the case leaves out.
struct ExpectedAttention {
  HostTensor out;                     // [rows, heads, head_size]
  HostTensor lse;                     // [rows, heads]
  std::vector<double> max_abs_logit;  // [rows * heads]
  std::vector<int32_t> request_of_row;
};
ExpectedAttention ExpectAttention(const AttentionCase& c);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_ATTENTION_DATA_H_
