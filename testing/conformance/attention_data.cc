// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/attention_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/plan.h"
#include "testing/conformance/quantized_row.h"
#include "testing/conformance/random.h"
#include "testing/conformance/row_oracle.h"

namespace weft::testing {
namespace {

// Names of random streams.
enum Stream : uint64_t { kDirection, kKeyNoise, kValue, kQueryNoise, kPlant };

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kHugeFactor = 4096.0f;

uint64_t Id(const AttentionCase& c, int64_t request) {
  return static_cast<uint64_t>(c.requests[request].id);
}

// +-1 in every dimension: two of them are nearly orthogonal.
void AddDirection(const AttentionCase& c, int64_t request, int64_t position, int64_t kv_head,
                  float factor, absl::Span<float> target) {
  RandomStream random({c.seed, Id(c, request), static_cast<uint64_t>(position),
                       static_cast<uint64_t>(kv_head), kDirection});
  uint64_t bits = 0;
  for (size_t d = 0; d < target.size(); ++d) {
    if (d % 64 == 0) bits = random.Next();
    target[d] += (bits >> (d % 64) & 1) != 0 ? factor : -factor;
  }
}

void AddNoise(const AttentionCase& c, int64_t request, int64_t position, int64_t head,
              Stream stream, float factor, absl::Span<float> target) {
  RandomStream random({c.seed, Id(c, request), static_cast<uint64_t>(position),
                       static_cast<uint64_t>(head), stream});
  for (float& value : target) value += factor * random.Symmetric();
}

// Whose data the key at a position has.
int64_t KeySource(const AttentionCase& c, int64_t request, int64_t position) {
  const int64_t context = c.requests[request].context;
  return c.reverse && position < context ? context - 1 - position : position - c.shift;
}

// The keys that a row points at, all in [0, position].
std::set<int64_t> PlantedKeys(const AttentionCase& c, int64_t request, int64_t position) {
  // Page edges by the smallest page size that counts: the data must not depend on the page size of
  // the run, or it could not be varied (P8).
  constexpr int64_t kPage = 16;
  RandomStream random({c.seed, Id(c, request), static_cast<uint64_t>(position), kPlant});
  std::set<int64_t> keys = {0, position, position - 1, position / kPage * kPage,
                            position / kPage * kPage - 1};
  const int64_t page =
      static_cast<int64_t>(random.Below(static_cast<uint64_t>(position / kPage + 1))) * kPage;
  keys.insert({page, page - 1});
  if (c.window > 0) keys.insert({position - c.window + 1, position - c.window});
  for (int64_t edge = kGranule; edge <= position; edge += kGranule) {
    keys.insert({edge - 1, edge});
  }
  keys.erase(keys.begin(), keys.lower_bound(0));
  return keys;
}

// One of the planted keys, another for each row and head.
int64_t TargetKey(const AttentionCase& c, int64_t request, int64_t position, int64_t head) {
  const std::set<int64_t> keys = PlantedKeys(c, request, position);
  RandomStream random({c.seed, Id(c, request), static_cast<uint64_t>(position),
                       static_cast<uint64_t>(head), kPlant});
  return *std::next(keys.begin(), static_cast<int64_t>(random.Below(keys.size())));
}

void FillQuery(const AttentionCase& c, int64_t request, int64_t position, int64_t head,
               absl::Span<float> query) {
  const int64_t kv_head = head / (c.heads / c.kv_heads * c.repeat);
  // A planted key's logit is about so much above the others.
  const float lift = c.data == DataKind::kLarge ? 50.0f : 5.0f;
  const float factor = lift / std::sqrt(static_cast<float>(c.head_size));
  switch (c.data) {
    case DataKind::kPlanted:
    case DataKind::kLarge:
      for (int64_t key : PlantedKeys(c, request, position)) {
        AddDirection(c, request, key, kv_head, factor, query);
      }
      AddNoise(c, request, position, head, kQueryNoise, 0.25f, query);
      return;
    case DataKind::kHuge:
      AddDirection(c, request, TargetKey(c, request, position, head), kv_head, kHugeFactor, query);
      return;
    case DataKind::kNegative:
      AddDirection(c, request, 0, kv_head, -kHugeFactor, query);
      return;
    case DataKind::kCoarse:
      AddNoise(c, request, position, head, kQueryNoise, 2.0f, query);
      for (float& q : query) q = std::round(4.0f * q) / 4.0f;
      return;
    default:
      AddNoise(c, request, position, head, kQueryNoise, 2.0f, query);
  }
}

void FillKey(const AttentionCase& c, int64_t request, int64_t position, int64_t head,
             absl::Span<float> key) {
  switch (c.data) {
    case DataKind::kHuge:
      AddDirection(c, request, position, head, 1.0f, key);
      return;
    case DataKind::kNegative:  // all point away from every query, the first one least
      AddDirection(c, request, 0, head, position == 0 ? 0.5f : 1.0f, key);
      return;
    case DataKind::kIdentical:
      AddDirection(c, request, 0, head, 1.0f, key);
      return;
    case DataKind::kZeroKeys:
      return;
    case DataKind::kCoarse:
      AddDirection(c, request, position, head, 0.25f, key);
      return;
    default:
      AddDirection(c, request, position, head, 1.0f, key);
      AddNoise(c, request, position, head, kKeyNoise, 0.25f, key);
  }
}

void FillValue(const AttentionCase& c, int64_t request, int64_t position, int64_t head,
               absl::Span<float> value) {
  const int64_t source = c.data == DataKind::kEqualValues ? 0 : position;
  AddNoise(c, request, source, head, kValue, 1.0f, value);
  for (float& v : value) {
    if (c.data == DataKind::kZeroKeys) v = std::round(4.0f * v);  // sums of these are exact
    if (c.data == DataKind::kCoarse) v = std::round(4.0f * v) / 4.0f;
  }
}

using Fill = void (*)(const AttentionCase&, int64_t, int64_t, int64_t, absl::Span<float>);

struct RowKind {
  DType dtype;
  int64_t heads;
  int64_t repeat;  // adjacent heads of the same data
  float factor;
};

// `position` is that of the data; NaN instead of numbers if it is negative.
std::vector<uint8_t> Row(const AttentionCase& c, int64_t request, int64_t position,
                         const RowKind& kind, Fill fill) {
  const int64_t size = c.head_size;
  std::vector<uint8_t> row(static_cast<size_t>(kind.heads * size * SizeOf(kind.dtype)));
  std::vector<float> values(static_cast<size_t>(size));
  for (int64_t head = 0; head < kind.heads; ++head) {
    std::fill(values.begin(), values.end(), position < 0 ? kNan : 0.0f);
    if (position >= 0) fill(c, request, position, head / kind.repeat, absl::MakeSpan(values));
    for (int64_t d = 0; d < size; ++d) {
      StoreFloat(kind.dtype, row.data(), head * size + d, kind.factor * values[d]);
    }
  }
  return row;
}

bool IsNan(const AttentionCase& c, int64_t request, int64_t position) {
  return request == c.nan_request && position >= c.nan_from;
}

// Keys and values of a request as floats, [heads][positions][head_size].
struct DenseKv {
  std::vector<float> keys, values;
};

DenseKv Dequantized(const AttentionCase& c, int64_t request, int64_t positions) {
  const AttentionSpec spec = c.Spec();
  DenseKv dense;
  dense.keys.resize(static_cast<size_t>(c.kv_heads * positions * c.head_size));
  dense.values.resize(dense.keys.size());
  const bool new_as_given = c.keys == KeyMode::kNew || c.keys == KeyMode::kSplit;
  for (int64_t p = 0; p < positions; ++p) {
    const bool given = new_as_given && p >= c.requests[request].context;
    const DType dtype = given ? c.key_dtype() : c.kv_dtype();
    const std::vector<uint8_t> key = KeyRowAs(c, dtype, request, p);
    const std::vector<uint8_t> value = ValueRowAs(c, dtype, request, p);
    for (int64_t h = 0; h < c.kv_heads; ++h) {
      const float k_scale = IsFp8(dtype) ? ScaleOf(spec.k_scales, h) : 1.0f;
      const float v_scale = IsFp8(dtype) ? ScaleOf(spec.v_scales, h) : 1.0f;
      for (int64_t d = 0; d < c.head_size; ++d) {
        const int64_t from = h * c.head_size + d;
        const size_t to = static_cast<size_t>((h * positions + p) * c.head_size + d);
        dense.keys[to] = LoadFloat(dtype, key.data(), from) * k_scale;
        dense.values[to] = LoadFloat(dtype, value.data(), from) * v_scale;
      }
    }
  }
  return dense;
}

RowRules RulesOf(const AttentionCase& c, const AttentionSpec& spec, int64_t head) {
  RowRules rules;
  rules.scale = spec.effective_scale();
  rules.softcap = spec.softcap;
  if (!spec.alibi_slopes.empty()) rules.slope = spec.alibi_slopes[head];
  if (!spec.sinks.empty() && !c.partial()) rules.sink = spec.sinks[head];
  return rules;
}

void ExpectRow(const AttentionCase& c, const AttentionSpec& spec, int64_t request, int64_t position,
               const DenseKv& dense, ExpectedAttention& expected) {
  const int64_t positions = c.requests[request].context + c.requests[request].new_tokens;
  const VisibleRange seen = VisibleKeys(c, request, position);
  std::vector<int64_t> keys;
  for (int64_t k = seen.first; k < seen.end; ++k) keys.push_back(k);
  const std::vector<uint8_t> row = QueryRow(c, request, position);
  std::vector<float> query(static_cast<size_t>(c.head_size));
  for (int64_t head = 0; head < c.heads; ++head) {
    for (int64_t d = 0; d < c.head_size; ++d) {
      query[d] = LoadFloat(c.query_dtype(), row.data(), head * c.head_size + d);
    }
    const int64_t base = head / spec.group_size() * positions;
    const auto fetch = [&](int64_t k, absl::Span<float> key, absl::Span<float> value) {
      const auto from = (base + k) * c.head_size;
      std::copy_n(dense.keys.begin() + from, c.head_size, key.begin());
      std::copy_n(dense.values.begin() + from, c.head_size, value.begin());
    };
    const OracleResult result = AttendKeys(query, RulesOf(c, spec, head), position, keys, fetch);
    expected.out.values.insert(expected.out.values.end(), result.out.begin(), result.out.end());
    expected.lse.values.push_back(result.lse);
    expected.max_abs_logit.push_back(result.max_abs_logit);
  }
}

}  // namespace

std::vector<uint8_t> QueryRow(const AttentionCase& c, int64_t request, int64_t position) {
  const RowKind kind = {c.query_dtype(), c.heads, 1, static_cast<float>(c.query_factor)};
  return Row(c, request, position - c.shift, kind, FillQuery);
}

std::vector<uint8_t> KeyRow(const AttentionCase& c, int64_t request, int64_t position) {
  const bool nan = c.nan_keys && IsNan(c, request, position);
  const RowKind kind = {c.dtype, c.kv_heads, c.repeat, 1.0f};
  return Row(c, request, nan ? -1 : KeySource(c, request, position), kind, FillKey);
}

std::vector<uint8_t> ValueRow(const AttentionCase& c, int64_t request, int64_t position) {
  const bool nan = c.nan_values && IsNan(c, request, position);
  const RowKind kind = {c.dtype, c.kv_heads, c.repeat, static_cast<float>(c.value_factor)};
  return Row(c, request, nan ? -1 : KeySource(c, request, position), kind, FillValue);
}

std::vector<uint8_t> KeyRowAs(const AttentionCase& c, DType dtype, int64_t request,
                              int64_t position) {
  const std::vector<float> scales = MakeScales(c.scales, c.kv_heads, c.repeat, /*keys=*/true);
  return QuantizedRow(KeyRow(c, request, position), c.dtype, dtype, c.kv_heads, scales);
}

std::vector<uint8_t> ValueRowAs(const AttentionCase& c, DType dtype, int64_t request,
                                int64_t position) {
  const std::vector<float> scales = MakeScales(c.scales, c.kv_heads, c.repeat, /*keys=*/false);
  return QuantizedRow(ValueRow(c, request, position), c.dtype, dtype, c.kv_heads, scales);
}

VisibleRange VisibleKeys(const AttentionCase& c, int64_t request, int64_t position) {
  const int64_t context = c.requests[request].context;
  VisibleRange range = {0, position + 1};
  if (c.window > 0) range.first = std::max<int64_t>(0, position + 1 - c.window);
  if (c.keys == KeyMode::kContext) range.end = context;
  if (c.keys == KeyMode::kNew) range.first = std::max(range.first, context);
  range.first = std::min(range.first, range.end);
  return range;
}

int64_t FirstNeeded(const AttentionCase& c, const CaseRequest& request) {
  return c.window > 0 ? std::max<int64_t>(0, request.context - c.window + 1) : 0;
}

ExpectedAttention ExpectAttention(const AttentionCase& c) {
  ExpectedAttention expected;
  expected.out = {c.output_dtype(), {c.num_rows(), c.heads, c.head_size}, {}};
  expected.lse = {DType::kF32, {c.num_rows(), c.heads}, {}};
  const AttentionSpec spec = c.Spec();
  for (int64_t i = 0; i < static_cast<int64_t>(c.requests.size()); ++i) {
    const CaseRequest& request = c.requests[i];
    expected.request_of_row.insert(expected.request_of_row.end(),
                                   static_cast<size_t>(request.new_tokens),
                                   static_cast<int32_t>(i));
    if (!c.in_scope(request)) {
      const size_t heads =
          expected.lse.values.size() + static_cast<size_t>(request.new_tokens * c.heads);
      expected.out.values.resize(heads * static_cast<size_t>(c.head_size));
      expected.lse.values.resize(heads);
      expected.max_abs_logit.resize(heads);
      continue;
    }
    const int64_t positions = request.context + request.new_tokens;
    const DenseKv dense = Dequantized(c, i, positions);
    for (int64_t p = request.context; p < positions; ++p) {
      ExpectRow(c, spec, i, p, dense, expected);
    }
  }
  return expected;
}

}  // namespace weft::testing
