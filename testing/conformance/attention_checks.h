// SPDX-License-Identifier: Apache-2.0
//
// What attention must satisfy on every backend. Each check returns OK, FAILED_PRECONDITION with a
// report that ends in the one-line case, or UNIMPLEMENTED if the backend does not support the case.
#ifndef WEFT_TESTING_CONFORMANCE_ATTENTION_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_ATTENTION_CHECKS_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/backend.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

// Against the float64 oracle, and exactly where the answer is known exactly.
absl::Status CheckAttention(Backend& backend, const AttentionCase& c);

// A property: the case run in two ways gives the same bits (design.md, semantics 8 and 11).
struct AttentionProperty {
  std::string_view name;
  absl::Status (*check)(Backend& backend, const AttentionCase& c);
};

// repeat               run again
// pages                other page numbers, other segments
// page_size            pages of 1, 3, 17, 64 and 544 tokens
// layout               other strides of cache, query, output and LSE; no LSE
// batch                each request alone, and the batch in reverse
// chunks               each request in pieces, as it would come in several steps
// world_size           2, 3 and 4 ranks
// causality            NaN in the keys or values of positions that a row does not see
// independence         other data in one request
// steps                as two steps of two layers, all submitted at once
const std::vector<AttentionProperty>& AttentionProperties();

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_ATTENTION_CHECKS_H_
