// SPDX-License-Identifier: Apache-2.0
#include "testing/oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace weft::testing {
namespace {

constexpr double kNegativeInfinity = -std::numeric_limits<double>::infinity();

// Keys one after the other: what has been summed is scaled down when a larger logit comes.
class Softmax {
 public:
  explicit Softmax(size_t size) : weighted_(size) {}

  void Add(double logit, absl::Span<const float> value) {
    max_abs_logit_ = std::max(max_abs_logit_, std::abs(logit));
    if (logit == kNegativeInfinity) return;  // contributes nothing
    if (logit > maximum_) {
      const double factor = maximum_ == kNegativeInfinity ? 0.0 : std::exp(maximum_ - logit);
      sum_ *= factor;
      for (double& w : weighted_) w *= factor;
      maximum_ = logit;
    }
    // With nothing but NaN so far there is no maximum; the NaN itself must come through.
    const double weight = std::isnan(logit) ? logit : std::exp(logit - maximum_);
    sum_ += weight;
    for (size_t c = 0; c < value.size(); ++c) weighted_[c] += weight * double{value[c]};
  }

  OracleResult Finish() && {
    OracleResult result;
    result.max_abs_logit = max_abs_logit_;
    result.out = std::move(weighted_);
    if (sum_ == 0.0) {
      std::fill(result.out.begin(), result.out.end(), 0.0);
      result.lse = kNegativeInfinity;
      return result;
    }
    for (double& value : result.out) value /= sum_;
    result.lse = (maximum_ == kNegativeInfinity ? 0.0 : maximum_) + std::log(sum_);
    return result;
  }

 private:
  double maximum_ = kNegativeInfinity;
  double sum_ = 0.0;
  double max_abs_logit_ = 0.0;
  std::vector<double> weighted_;
};

double Dot(absl::Span<const float> a, absl::Span<const float> b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

}  // namespace

OracleResult AttendRow(absl::Span<const float> query, double scale, int64_t num_keys,
                       FetchKeyValue fetch) {
  std::vector<float> key(query.size());
  std::vector<float> value(query.size());
  Softmax softmax(query.size());
  for (int64_t i = 0; i < num_keys; ++i) {
    fetch(i, absl::MakeSpan(key), absl::MakeSpan(value));
    softmax.Add(scale * Dot(query, key), value);
  }
  return std::move(softmax).Finish();
}

OracleResult AttendRow(absl::Span<const float> query, double scale, int64_t num_keys,
                       absl::Span<const float> keys, absl::Span<const float> values,
                       int64_t stride) {
  Softmax softmax(query.size());
  for (int64_t i = 0; i < num_keys; ++i) {
    const size_t place = static_cast<size_t>(i * stride);
    softmax.Add(scale * Dot(query, keys.subspan(place, query.size())),
                values.subspan(place, query.size()));
  }
  return std::move(softmax).Finish();
}

}  // namespace weft::testing
