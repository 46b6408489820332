// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/row_oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace weft::replay {

testing::OracleResult AttendVisible(const AttentionSpec& spec, int64_t head, int64_t position,
                                    absl::Span<const float> query, testing::FetchKeyValue fetch) {
  const int64_t first = spec.window > 0 ? std::max<int64_t>(position - spec.window + 1, 0) : 0;
  const int64_t size = spec.head_size, count = position - first + 1;
  std::vector<float> key(size), values(count * size);
  std::vector<double> logits(count);
  for (int64_t i = 0; i < count; ++i) {
    fetch(first + i, absl::MakeSpan(key), absl::MakeSpan(values).subspan(i * size, size));
    double product = 0;
    for (int64_t d = 0; d < size; ++d) product += double{query[d]} * double{key[d]};
    logits[i] = product * double{spec.effective_scale()};
    if (spec.softcap > 0) logits[i] = spec.softcap * std::tanh(logits[i] / spec.softcap);
  }
  testing::OracleResult result;
  result.out.resize(size);
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    result.max_abs_logit = std::max(result.max_abs_logit, std::abs(logits[i]));
    const double weight = std::exp(logits[i] - largest);
    sum += weight;
    for (int64_t d = 0; d < size; ++d) result.out[d] += weight * double{values[i * size + d]};
  }
  result.lse = largest + std::log(sum);
  if (!spec.sinks.empty()) sum += std::exp(double{spec.sinks[head]} - largest);
  for (double& out : result.out) out /= sum;
  return result;
}

}  // namespace weft::replay
