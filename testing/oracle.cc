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

  void Add(double logit, double v_scale, absl::Span<const float> value) {
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
    for (size_t c = 0; c < value.size(); ++c) weighted_[c] += weight * (v_scale * value[c]);
  }

  void SeeLogit(double logit) { max_abs_logit_ = std::max(max_abs_logit_, std::abs(logit)); }

  OracleResult Finish(double sink) && {
    OracleResult result;
    result.max_abs_logit = max_abs_logit_;
    result.out = std::move(weighted_);
    if (sum_ == 0.0) {
      std::fill(result.out.begin(), result.out.end(), 0.0);
      result.lse = kNegativeInfinity;
      return result;
    }
    // The sink is one more key whose value is 0. A NaN stays one.
    const double largest = std::max(maximum_, sink);
    const double share = sink == kNegativeInfinity ? 0.0 : std::exp(sink - largest);
    const double factor = largest == maximum_ ? 1.0 : std::exp(maximum_ - largest);
    for (double& value : result.out) value = value * factor / (sum_ * factor + share);
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

OracleHead OracleHeadOf(const AttentionSpec& spec, int64_t head) {
  const auto scale = [&](const std::vector<float>& scales) {
    if (scales.empty()) return 1.0;
    return double{scales.size() == 1 ? scales[0] : scales[head / spec.group_size()]};
  };
  OracleHead result;
  result.scale = double{spec.effective_scale()} * spec.q_scale;
  result.softcap = spec.softcap;
  result.window = spec.window;
  if (!spec.alibi_slopes.empty()) result.alibi_slope = spec.alibi_slopes[head];
  if (!spec.sinks.empty()) result.sink = spec.sinks[head];
  result.k_scale = scale(spec.k_scales);
  result.v_scale = scale(spec.v_scales);
  return result;
}

OracleResult AttendRow(absl::Span<const float> query, const OracleHead& head, int64_t position,
                       int64_t num_keys, FetchKeyValue fetch) {
  std::vector<float> key(query.size());
  std::vector<float> value(query.size());
  Softmax softmax(query.size());
  const int64_t first = head.window > 0 ? std::max<int64_t>(position + 1 - head.window, 0) : 0;
  for (int64_t i = first; i < std::min(position + 1, num_keys); ++i) {
    fetch(i, absl::MakeSpan(key), absl::MakeSpan(value));
    double logit = head.scale * (head.k_scale * Dot(query, key));
    if (head.softcap != 0.0) logit = head.softcap * std::tanh(logit / head.softcap);
    softmax.SeeLogit(logit);
    logit += head.alibi_slope * static_cast<double>(i - position);
    softmax.SeeLogit(logit);
    softmax.Add(logit, head.v_scale, value);
  }
  return std::move(softmax).Finish(head.sink);
}

OracleResult AttendRow(absl::Span<const float> query, double scale, int64_t num_keys,
                       FetchKeyValue fetch) {
  OracleHead head;
  head.scale = scale;
  return AttendRow(query, head, num_keys - 1, num_keys, fetch);
}

OracleResult AttendRow(absl::Span<const float> query, double scale, int64_t num_keys,
                       absl::Span<const float> keys, absl::Span<const float> values,
                       int64_t stride) {
  return AttendRow(query, scale, num_keys,
                   [&](int64_t i, absl::Span<float> key, absl::Span<float> value) {
                     const auto place = static_cast<size_t>(i * stride);
                     std::copy_n(keys.data() + place, key.size(), key.data());
                     std::copy_n(values.data() + place, value.size(), value.data());
                   });
}

}  // namespace weft::testing
