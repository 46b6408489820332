// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/row_oracle.h"

#include <algorithm>
#include <cmath>

namespace weft::testing {
namespace {

constexpr double kNegativeInfinity = -std::numeric_limits<double>::infinity();

double Dot(absl::Span<const float> a, absl::Span<const float> b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

}  // namespace

OracleResult AttendKeys(absl::Span<const float> query, const RowRules& rules, int64_t position,
                        absl::Span<const int64_t> keys, FetchKeyValue fetch) {
  const size_t size = query.size();
  std::vector<float> key(size), value(size);
  OracleResult result;
  result.out.assign(size, 0.0);
  double maximum = kNegativeInfinity;
  double sum = 0.0;
  for (int64_t k : keys) {
    fetch(k, absl::MakeSpan(key), absl::MakeSpan(value));
    const double bias = rules.slope * static_cast<double>(k - position);
    double logit = rules.scale * Dot(query, key);
    if (rules.cap_after_bias) logit += bias;
    double measure = std::abs(logit);
    if (rules.softcap > 0.0) {
      const double capped = std::tanh(logit / rules.softcap);
      measure *= 1.0 - capped * capped;
      logit = rules.softcap * capped;
    }
    if (!rules.cap_after_bias) logit += bias;
    for (double m : {measure, std::abs(bias), std::abs(logit)}) {
      if (std::isfinite(m)) result.max_abs_logit = std::max(result.max_abs_logit, m);
    }
    if (logit == kNegativeInfinity) continue;
    if (logit > maximum) {
      const double factor = maximum == kNegativeInfinity ? 0.0 : std::exp(maximum - logit);
      sum *= factor;
      for (double& o : result.out) o *= factor;
      maximum = logit;
    }
    const double weight = std::isnan(logit) ? logit : std::exp(logit - maximum);
    sum += weight;
    for (size_t d = 0; d < size; ++d) result.out[d] += weight * double{value[d]};
  }
  if (sum == 0.0) {
    result.lse = kNegativeInfinity;
    return result;
  }
  if (maximum == kNegativeInfinity) maximum = 0.0;  // nothing but NaN, which must come through
  result.lse = maximum + std::log(sum);
  // A sink far above all keys must not overflow, one far below must not matter.
  const double with_sink = sum + std::exp(rules.sink - maximum);
  for (double& o : result.out) o = std::isinf(with_sink) ? 0.0 : o / with_sink;
  return result;
}

}  // namespace weft::testing
