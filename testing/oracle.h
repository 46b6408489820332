// SPDX-License-Identifier: Apache-2.0
//
// The oracle: attention of one (row, head) in float64, from values that the caller holds. It never
// reads a device's memory, so what it says cannot be wrong in the same way as a cache.
#ifndef WEFT_TESTING_ORACLE_H_
#define WEFT_TESTING_ORACLE_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "core/attention_spec.h"

namespace weft::testing {

struct OracleResult {
  std::vector<double> out;     // [value size]; all 0 if no key is visible, sink or not
  double lse = 0.0;            // natural log, without the sink; -inf if no key is visible
  double max_abs_logit = 0.0;  // of the visible keys: the measure of the LSE's error
};

// How one head of a layer makes logits and weights of dot products (docs/design.md, semantics 1).
struct OracleHead {
  double scale = 1.0;
  double softcap = 0.0;  // 0: none
  int64_t window = 0;    // <= 0: none
  double alibi_slope = 0.0;
  double sink = -std::numeric_limits<double>::infinity();  // -inf: none
  // What is fetched is read back times these, as from a quantised cache.
  double k_scale = 1.0;
  double v_scale = 1.0;
};

// The numbers of query head `head` of a layer.
OracleHead OracleHeadOf(const AttentionSpec& spec, int64_t head);

// Fills the key and the value at position `index`: exactly the values that the device was given,
// after rounding to its dtype.
using FetchKeyValue =
    absl::FunctionRef<void(int64_t index, absl::Span<float> key, absl::Span<float> value)>;

// The row at `position` over the keys at [max(0, position - window + 1), min(position + 1,
// num_keys)). Keys and values have the query's size. NaN and infinity in what is fetched reach the
// result as in IEEE arithmetic.
OracleResult AttendRow(absl::Span<const float> query, const OracleHead& head, int64_t position,
                       int64_t num_keys, FetchKeyValue fetch);

// softmax(scale * query . key) over the keys 0 .. num_keys - 1, times the values.
OracleResult AttendRow(absl::Span<const float> query, double scale, int64_t num_keys,
                       FetchKeyValue fetch);

// The same, over dense arrays: key number i is at keys[i * stride], its value at values[i *
// stride], both query.size() long.
OracleResult AttendRow(absl::Span<const float> query, double scale, int64_t num_keys,
                       absl::Span<const float> keys, absl::Span<const float> values,
                       int64_t stride);

}  // namespace weft::testing

#endif  // WEFT_TESTING_ORACLE_H_
