// SPDX-License-Identifier: Apache-2.0
//
// The oracle: attention of one (row, head) in float64, from values that the caller holds. It never
// reads a device's memory, so what it says cannot be wrong in the same way as a cache.
#ifndef WEFT_TESTING_ORACLE_H_
#define WEFT_TESTING_ORACLE_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace weft::testing {

struct OracleResult {
  std::vector<double> out;     // [value size]; all 0 if no key is visible
  double lse = 0.0;            // natural log; -inf if no key is visible
  double max_abs_logit = 0.0;  // of the visible keys: the measure of the LSE's error
};

// Fills the key and the value of the visible key number `index` (0, 1, ..., num_keys - 1): exactly
// the values that the device was given, after rounding to its dtype.
using FetchKeyValue =
    absl::FunctionRef<void(int64_t index, absl::Span<float> key, absl::Span<float> value)>;

// softmax(scale * query . key) over `num_keys` keys, times the values. Keys and values have the
// query's size. NaN and infinity in what is fetched reach the result as in IEEE arithmetic.
OracleResult AttendRow(absl::Span<const float> query, double scale, int64_t num_keys,
                       FetchKeyValue fetch);

// The same, over dense arrays: key number i is at keys[i * stride], its value at values[i *
// stride], both query.size() long.
OracleResult AttendRow(absl::Span<const float> query, double scale, int64_t num_keys,
                       absl::Span<const float> keys, absl::Span<const float> values,
                       int64_t stride);

}  // namespace weft::testing

#endif  // WEFT_TESTING_ORACLE_H_
