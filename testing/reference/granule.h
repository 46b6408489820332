// SPDX-License-Identifier: Apache-2.0
//
// The keys and values of one granule, and what a query row makes of them.
#ifndef WEFT_TESTING_REFERENCE_GRANULE_H_
#define WEFT_TESTING_REFERENCE_GRANULE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/kv_cache.h"
#include "core/plan.h"
#include "testing/reference/host_memory.h"
#include "testing/reference/widen.h"

namespace weft {

template <typename T>
constexpr T kNegativeInfinity = -std::numeric_limits<T>::infinity();

// Distance of two dimensions in the widened keys; not a power of two, which would put them all into
// the same few sets of the processor's cache.
constexpr int64_t kKeyStride = kGranule + 16;

// The state of the keys that a (row, head) has seen: O = sum w v, l = sum w, w = exp(s - m).
template <typename T>
struct State {
  T maximum = kNegativeInfinity<T>;
  T sum = 0;
  std::vector<T> weighted;
};

// How a logit comes from a dot product, for one query row and head.
template <typename T>
struct LogitRule {
  T scale = 1;
  T softcap = 0;         // 0: none
  T slope = 0;           // ALiBi
  int64_t position = 0;  // of the row, counted as the keys are
};

// Keys and values of one request and kv head, widened once for all rows that read them.
template <typename T>
class Granule {
 public:
  explicit Granule(int64_t head_size)
      : head_size_(head_size),
        keys_(static_cast<size_t>(head_size * kKeyStride)),
        values_(static_cast<size_t>(head_size * kGranule)),
        weights_(static_cast<size_t>(kGranule)),
        sum_(static_cast<size_t>(head_size)) {}

  // Positions [first + begin, first + end) of the granule that starts at `first`; their blocks are
  // entries of `blocks` from the request's first. What is stored is read back times the scales.
  void Load(const KvCacheView& cache, const int32_t* blocks, int64_t kv_head, int64_t first,
            int64_t begin, int64_t end, T k_scale, T v_scale) {
    const KvCacheLayout& layout = cache.layout();
    const int64_t size = SizeOf(layout.dtype());
    first_ = first;
    for (int64_t j = begin; j < end; ++j) {
      const int64_t position = first + j;
      const int64_t block = blocks[position / layout.block_size()];
      const int64_t offset = position % layout.block_size();
      const KvSegment& segment = cache.segments()[block / cache.blocks_per_segment()];
      const int64_t in_segment = block % cache.blocks_per_segment();
      const auto place = [&](const KvStrides& s) {
        return (in_segment * s.block + offset * s.token + kv_head * s.head) * size;
      };
      T* const key = keys_.data() + j;
      T* const value = values_.data() + j * head_size_;
      WidenHead<T>(layout.dtype(),
                   HostPointer<uint8_t>(segment.key_base, place(layout.key_strides())), head_size_,
                   layout.key_strides(), key, kKeyStride);
      WidenHead<T>(layout.dtype(),
                   HostPointer<uint8_t>(segment.value_base, place(layout.value_strides())),
                   head_size_, layout.value_strides(), value, 1);
      if (k_scale != T{1}) {
        for (int64_t c = 0; c < head_size_; ++c) key[c * kKeyStride] *= k_scale;
      }
      if (v_scale != T{1}) {
        for (int64_t c = 0; c < head_size_; ++c) value[c] *= v_scale;
      }
    }
  }

  // Adds the keys [begin, end) of the granule to `state`. The order of all sums depends on the two
  // alone.
  void Accumulate(const T* query, const LogitRule<T>& rule, int64_t begin, int64_t end,
                  State<T>& state) {
    ComputeLogits(query, rule, begin, end);
    T maximum = kNegativeInfinity<T>;
    for (int64_t j = begin; j < end; ++j) maximum = std::max(maximum, weights_[j]);
    const T sum = ExponentiateAndSum(maximum, begin, end);
    ComputeWeightedSum(begin, end);
    Merge(maximum, sum, state);
  }

 private:
  // Keys lie dimension-major, so that the inner loop runs along keys and needs no reduction.
  void ComputeLogits(const T* query, const LogitRule<T>& rule, int64_t begin, int64_t end) {
    T* const logits = weights_.data();
    std::fill(logits + begin, logits + end, T{0});
    int64_t c = 0;
    for (; c + 4 <= head_size_; c += 4) {
      const T q0 = query[c], q1 = query[c + 1], q2 = query[c + 2], q3 = query[c + 3];
      const T* const k0 = keys_.data() + c * kKeyStride;
      const T* const k1 = k0 + kKeyStride;
      const T* const k2 = k1 + kKeyStride;
      const T* const k3 = k2 + kKeyStride;
      for (int64_t j = begin; j < end; ++j) {
        logits[j] += (q0 * k0[j] + q1 * k1[j]) + (q2 * k2[j] + q3 * k3[j]);
      }
    }
    for (; c < head_size_; ++c) {
      const T q = query[c];
      const T* const k = keys_.data() + c * kKeyStride;
      for (int64_t j = begin; j < end; ++j) logits[j] += q * k[j];
    }
    for (int64_t j = begin; j < end; ++j) logits[j] *= rule.scale;
    if (rule.softcap != T{0}) {
      for (int64_t j = begin; j < end; ++j) {
        logits[j] = rule.softcap * std::tanh(logits[j] / rule.softcap);
      }
    }
    if (rule.slope != T{0}) {
      for (int64_t j = begin; j < end; ++j) {
        logits[j] += rule.slope * static_cast<T>(first_ + j - rule.position);
      }
    }
  }

  // Turns logits into weights.
  T ExponentiateAndSum(T maximum, int64_t begin, int64_t end) {
    T sum = 0;
    for (int64_t j = begin; j < end; ++j) {
      // With a maximum of -inf the difference would be NaN for a logit of -inf; a NaN logit stays.
      const T logit = weights_[j];
      const T weight =
          maximum == kNegativeInfinity<T> && !std::isnan(logit) ? T{0} : std::exp(logit - maximum);
      weights_[j] = weight;
      sum += weight;
    }
    return sum;
  }

  void ComputeWeightedSum(int64_t begin, int64_t end) {
    T* const sum = sum_.data();
    std::fill_n(sum, head_size_, T{0});
    int64_t j = begin;
    for (; j + 4 <= end; j += 4) {
      const T w0 = weights_[j], w1 = weights_[j + 1], w2 = weights_[j + 2], w3 = weights_[j + 3];
      const T* const v0 = values_.data() + j * head_size_;
      const T* const v1 = v0 + head_size_;
      const T* const v2 = v1 + head_size_;
      const T* const v3 = v2 + head_size_;
      for (int64_t c = 0; c < head_size_; ++c) {
        sum[c] += (w0 * v0[c] + w1 * v1[c]) + (w2 * v2[c] + w3 * v3[c]);
      }
    }
    for (; j < end; ++j) {
      const T w = weights_[j];
      const T* const v = values_.data() + j * head_size_;
      for (int64_t c = 0; c < head_size_; ++c) sum[c] += w * v[c];
    }
  }

  void Merge(T maximum, T sum, State<T>& state) const {
    const T merged = std::max(state.maximum, maximum);
    const auto factor = [merged](T m) {
      return m == kNegativeInfinity<T> ? T{m == merged ? 1.0f : 0.0f} : std::exp(m - merged);
    };
    const T before = factor(state.maximum);
    const T here = factor(maximum);
    state.maximum = merged;
    state.sum = state.sum * before + sum * here;
    for (int64_t c = 0; c < head_size_; ++c) {
      state.weighted[c] = state.weighted[c] * before + sum_[c] * here;
    }
  }

  int64_t head_size_;
  int64_t first_ = 0;       // position of key 0
  std::vector<T> keys_;     // [head_size, kKeyStride]
  std::vector<T> values_;   // [kGranule, head_size]
  std::vector<T> weights_;  // [kGranule]: logits, then weights
  std::vector<T> sum_;      // [head_size]
};

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_GRANULE_H_
