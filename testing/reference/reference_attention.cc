// SPDX-License-Identifier: Apache-2.0
#include "testing/reference/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "core/plan.h"
#include "testing/reference/host_memory.h"

namespace weft {
namespace {

template <typename T>
constexpr T kNegativeInfinity = -std::numeric_limits<T>::infinity();

// All 2^16 values of f16: a look-up is many times faster than the exact software conversion.
const std::vector<float>& F16Table() {
  static const auto* const table = [] {
    auto* values = new std::vector<float>(1 << 16);
    for (int bits = 0; bits < 1 << 16; ++bits) {
      (*values)[bits] = F16ToF32(static_cast<uint16_t>(bits));
    }
    return values;
  }();
  return *table;
}

// target[i * stride] = source[i], for `count` adjacent elements of `dtype`.
template <typename T>
void Widen(DType dtype, const uint8_t* source, int64_t count, T* target, int64_t stride) {
  if (dtype == DType::kF32) {
    for (int64_t i = 0; i < count; ++i) {
      float value;
      std::memcpy(&value, source + 4 * i, 4);
      target[i * stride] = static_cast<T>(value);
    }
    return;
  }
  const float* f16 = dtype == DType::kF16 ? F16Table().data() : nullptr;
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, source + 2 * i, 2);
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    if (f16 != nullptr) {
      value = f16[bits];
    } else {
      std::memcpy(&value, &wide, 4);
    }
    target[i * stride] = static_cast<T>(value);
  }
}

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

// The keys and values of one granule of one request and kv head, widened once for all rows that
// read them.
template <typename T>
class Granule {
 public:
  explicit Granule(int64_t head_size)
      : head_size_(head_size),
        keys_(static_cast<size_t>(head_size * kKeyStride)),
        values_(static_cast<size_t>(head_size * kGranule)),
        weights_(static_cast<size_t>(kGranule)),
        sum_(static_cast<size_t>(head_size)) {}

  // Positions [first, first + count), whose blocks are entries of `blocks` from the request's
  // first.
  void Load(const KvCacheView& cache, const int32_t* blocks, int64_t kv_head, int64_t first,
            int64_t count) {
    const KvCacheLayout& layout = cache.layout();
    const int64_t size = SizeOf(layout.dtype());
    for (int64_t j = 0; j < count; ++j) {
      const int64_t position = first + j;
      const int64_t block = blocks[position / layout.block_size()];
      const int64_t offset = position % layout.block_size();
      const KvSegment& segment = cache.segments()[block / cache.blocks_per_segment()];
      const int64_t in_segment = block % cache.blocks_per_segment();
      const auto place = [&](const KvStrides& s) {
        return (in_segment * s.block + offset * s.token + kv_head * s.head) * size;
      };
      Widen<T>(layout.dtype(), HostPointer<uint8_t>(segment.key_base, place(layout.key_strides())),
               head_size_, keys_.data() + j, kKeyStride);
      Widen<T>(layout.dtype(),
               HostPointer<uint8_t>(segment.value_base, place(layout.value_strides())), head_size_,
               values_.data() + j * head_size_, 1);
    }
  }

  // Adds the first `count` keys to `state`. The order of all sums depends on `count` alone.
  void Accumulate(const T* query, T scale, int64_t count, State<T>& state) {
    ComputeLogits(query, scale, count);
    T maximum = kNegativeInfinity<T>;
    for (int64_t j = 0; j < count; ++j) maximum = std::max(maximum, weights_[j]);
    const T sum = ExponentiateAndSum(maximum, count);
    ComputeWeightedSum(count);
    Merge(maximum, sum, state);
  }

 private:
  // Keys lie dimension-major, so that the inner loop runs along keys and needs no reduction.
  void ComputeLogits(const T* query, T scale, int64_t count) {
    T* const logits = weights_.data();
    std::fill_n(logits, count, T{0});
    int64_t c = 0;
    for (; c + 4 <= head_size_; c += 4) {
      const T q0 = query[c], q1 = query[c + 1], q2 = query[c + 2], q3 = query[c + 3];
      const T* const k0 = keys_.data() + c * kKeyStride;
      const T* const k1 = k0 + kKeyStride;
      const T* const k2 = k1 + kKeyStride;
      const T* const k3 = k2 + kKeyStride;
      for (int64_t j = 0; j < count; ++j) {
        logits[j] += (q0 * k0[j] + q1 * k1[j]) + (q2 * k2[j] + q3 * k3[j]);
      }
    }
    for (; c < head_size_; ++c) {
      const T q = query[c];
      const T* const k = keys_.data() + c * kKeyStride;
      for (int64_t j = 0; j < count; ++j) logits[j] += q * k[j];
    }
    for (int64_t j = 0; j < count; ++j) logits[j] *= scale;
  }

  // Turns logits into weights.
  T ExponentiateAndSum(T maximum, int64_t count) {
    T sum = 0;
    for (int64_t j = 0; j < count; ++j) {
      // With a maximum of -inf the difference would be NaN for a logit of -inf; a NaN logit stays.
      const T logit = weights_[j];
      const T weight =
          maximum == kNegativeInfinity<T> && !std::isnan(logit) ? T{0} : std::exp(logit - maximum);
      weights_[j] = weight;
      sum += weight;
    }
    return sum;
  }

  void ComputeWeightedSum(int64_t count) {
    T* const sum = sum_.data();
    std::fill_n(sum, head_size_, T{0});
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
      const T w0 = weights_[j], w1 = weights_[j + 1], w2 = weights_[j + 2], w3 = weights_[j + 3];
      const T* const v0 = values_.data() + j * head_size_;
      const T* const v1 = v0 + head_size_;
      const T* const v2 = v1 + head_size_;
      const T* const v3 = v2 + head_size_;
      for (int64_t c = 0; c < head_size_; ++c) {
        sum[c] += (w0 * v0[c] + w1 * v1[c]) + (w2 * v2[c] + w3 * v3[c]);
      }
    }
    for (; j < count; ++j) {
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
  std::vector<T> keys_;     // [head_size, kKeyStride]
  std::vector<T> values_;   // [kGranule, head_size]
  std::vector<T> weights_;  // [kGranule]: logits, then weights
  std::vector<T> sum_;      // [head_size]
};

// Query rows [first_row, first_row + num_rows) of one request, at positions from first_position.
struct RowRun {
  int64_t first_row;
  int64_t num_rows;
  int64_t first_position;
  int64_t num_keys;       // of the request that any row may see
  const int32_t* blocks;  // null: padding
};

float RoundToOdd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value)) return nearest;
  uint32_t bits;
  std::memcpy(&bits, &nearest, 4);
  if ((bits & 1) != 0) return nearest;
  const float toward = static_cast<double>(nearest) < value
                           ? std::numeric_limits<float>::infinity()
                           : -std::numeric_limits<float>::infinity();
  return std::nextafter(nearest, toward);
}

}  // namespace

std::string_view Name(Precision precision) {
  return precision == Precision::kFloat32 ? "float32" : "float64";
}

void StoreRounded(DType dtype, void* data, int64_t index, double value) {
  // Rounding to odd keeps what the second rounding needs to know, so that the two together round
  // once.
  StoreFloat(dtype, data, index,
             dtype == DType::kF32 ? static_cast<float>(value) : RoundToOdd(value));
}

namespace {

// Everything that the loops share.
template <typename T>
class Attender {
 public:
  Attender(const AttentionArgs& args, int64_t num_heads, int64_t num_kv_heads, int64_t head_size,
           float scale)
      : args_(args),
        group_(num_heads / num_kv_heads),
        num_kv_heads_(num_kv_heads),
        head_size_(head_size),
        scale_(static_cast<T>(scale)),
        granule_(head_size) {}

  void Attend(const RowRun& run) {
    for (int64_t kv_head = 0; kv_head < num_kv_heads_; ++kv_head) AttendHead(run, kv_head);
  }

  void WritePadding(const RowRun& run) {
    const std::vector<T> zeros(static_cast<size_t>(head_size_));
    for (int64_t row = run.first_row; row < run.first_row + run.num_rows; ++row) {
      for (int64_t head = 0; head < group_ * num_kv_heads_; ++head) {
        WriteRow(row, head, zeros, T{1}, kNegativeInfinity<T>);
      }
    }
  }

 private:
  void AttendHead(const RowRun& run, int64_t kv_head) {
    const int64_t num_states = run.num_rows * group_;
    queries_.resize(static_cast<size_t>(num_states * head_size_));
    states_.assign(static_cast<size_t>(num_states), State<T>());
    for (int64_t i = 0; i < num_states; ++i) {
      states_[i].weighted.assign(static_cast<size_t>(head_size_), T{0});
      LoadQuery(run.first_row + i / group_, kv_head * group_ + i % group_,
                queries_.data() + i * head_size_);
    }
    const int64_t num_keys = std::min(run.first_position + run.num_rows, run.num_keys);
    for (int64_t first = 0; first < num_keys; first += kGranule) {
      const int64_t loaded = std::min(kGranule, num_keys - first);
      granule_.Load(args_.cache, run.blocks, kv_head, first, loaded);
      for (int64_t i = 0; i < num_states; ++i) {
        const int64_t position = run.first_position + i / group_;
        const int64_t visible = std::min(loaded, position + 1 - first);
        if (visible <= 0) continue;
        granule_.Accumulate(queries_.data() + i * head_size_, scale_, visible, states_[i]);
      }
    }
    for (int64_t i = 0; i < num_states; ++i) {
      const State<T>& state = states_[i];
      // A row that saw nothing (every logit -inf) is the identity of a merge: 0 and -inf.
      const bool nothing = state.sum == T{0};
      WriteRow(run.first_row + i / group_, kv_head * group_ + i % group_, state.weighted,
               nothing ? T{1} : state.sum,
               nothing ? kNegativeInfinity<T> : state.maximum + std::log(state.sum));
    }
  }

  void LoadQuery(int64_t row, int64_t head, T* target) const {
    const TensorView& query = args_.query;
    Widen<T>(
        query.dtype(),
        HostPointer<uint8_t>(query.address(), (row * query.stride(0) + head * query.stride(1)) *
                                                  SizeOf(query.dtype())),
        head_size_, target, 1);
  }

  void WriteRow(int64_t row, int64_t head, const std::vector<T>& weighted, T divisor, T lse) const {
    const TensorView& out = args_.out;
    void* const target = HostPointer<uint8_t>(
        out.address(), (row * out.stride(0) + head * out.stride(1)) * SizeOf(out.dtype()));
    for (int64_t c = 0; c < head_size_; ++c) {
      StoreRounded(out.dtype(), target, c, static_cast<double>(weighted[c] / divisor));
    }
    if (!args_.lse.given()) return;
    *HostPointer<float>(args_.lse.address(),
                        (row * args_.lse.stride(0) + head * args_.lse.stride(1)) * 4) =
        static_cast<float>(lse);
  }

  const AttentionArgs& args_;
  int64_t group_;
  int64_t num_kv_heads_;
  int64_t head_size_;
  T scale_;
  Granule<T> granule_;
  std::vector<T> queries_;  // [rows, group, head_size]
  std::vector<State<T>> states_;
};

// The rows of a table of plain structs; empty if the table is.
template <typename Row>
absl::Span<const Row> TableRows(const TensorView& table) {
  if (table.empty()) return {};
  return absl::MakeConstSpan(HostPointer<const Row>(table.address()),
                             static_cast<size_t>(table.extent(0)));
}

}  // namespace

AttentionJob::AttentionJob(const AttentionArgs& args)
    : args_(args),
      num_heads_(args.prepared->spec().num_heads),
      num_kv_heads_(args.prepared->spec().num_kv_heads),
      head_size_(args.prepared->spec().head_size),
      scale_(args.prepared->spec().effective_scale()) {
  args_.prepared = nullptr;
}

template <typename T>
void AttentionJob::RunTables() const {
  Attender<T> attender(args_, num_heads_, num_kv_heads_, head_size_, scale_);
  const int32_t* const blocks = HostPointer<const int32_t>(args_.tables.blocks.address());
  for (const PrefillTile& tile : TableRows<PrefillTile>(args_.tables.tiles)) {
    if (tile.first_block < 0) {
      attender.WritePadding({tile.first_row, tile.num_rows, 0, 0, nullptr});
    } else {
      attender.Attend(
          {tile.first_row, tile.num_rows, tile.first_position, tile.num_keys,
           blocks + tile.first_block});
    }
  }
  // One state after the other, left to right: there is no need for splits and workspace here.
  for (const DecodeRow& row : TableRows<DecodeRow>(args_.tables.decode_rows)) {
    attender.Attend({row.row, 1, row.position, row.num_keys, blocks + row.first_block});
  }
}

void AttentionJob::Run(Precision precision) const {
  if (precision == Precision::kFloat32) {
    RunTables<float>();
  } else {
    RunTables<double>();
  }
}

}  // namespace weft
