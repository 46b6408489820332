// SPDX-License-Identifier: Apache-2.0
//
// The answer for one row and head in float64, with every feature of AttentionSpec: design.md,
// semantics 1 to 5, in a few lines. The mutants are built on it too.
#ifndef WEFT_TESTING_CONFORMANCE_ROW_ORACLE_H_
#define WEFT_TESTING_CONFORMANCE_ROW_ORACLE_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/types/span.h"
#include "testing/oracle.h"

namespace weft::testing {

struct RowRules {
  double scale = 1.0;
  double softcap = 0.0;  // 0: none
  double slope = 0.0;
  double sink = -std::numeric_limits<double>::infinity();
  bool cap_after_bias = false;  // wrong; for a mutant
};

// Attention of the row at `position` over the keys at `keys`; `fetch` gives those of a position,
// dequantised. The LSE is without the sink. `max_abs_logit` of the result bounds what an LSE's
// error is measured in: it counts the bias and the logit before the softcap too, the latter by how
// much of its error comes through.
OracleResult AttendKeys(absl::Span<const float> query, const RowRules& rules, int64_t position,
                        absl::Span<const int64_t> keys, FetchKeyValue fetch);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_ROW_ORACLE_H_
