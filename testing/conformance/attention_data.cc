// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/attention_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/plan.h"
#include "testing/conformance/random.h"
#include "testing/oracle.h"

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
  const int64_t kv_head = head / (c.heads / c.kv_heads);
  // A planted key's logit is about kLift above the others.
  constexpr float kLift = 5.0f;
  const float factor = kLift / std::sqrt(static_cast<float>(c.head_size));
  switch (c.data) {
    case DataKind::kPlanted:
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
    default:
      AddDirection(c, request, position, head, 1.0f, key);
      AddNoise(c, request, position, head, kKeyNoise, 0.25f, key);
  }
}

void FillValue(const AttentionCase& c, int64_t request, int64_t position, int64_t head,
               absl::Span<float> value) {
  const int64_t source = c.data == DataKind::kEqualValues ? 0 : position;
  AddNoise(c, request, source, head, kValue, 1.0f, value);
  if (c.data != DataKind::kZeroKeys) return;
  for (float& v : value) v = std::round(4.0f * v);  // sums of these are exact
}

using Fill = void (*)(const AttentionCase&, int64_t, int64_t, int64_t, absl::Span<float>);

std::vector<uint8_t> Row(const AttentionCase& c, int64_t request, int64_t position, int64_t heads,
                         Fill fill, bool nan) {
  const int64_t size = c.head_size;
  std::vector<uint8_t> row(static_cast<size_t>(heads * size * SizeOf(c.dtype)));
  std::vector<float> values(static_cast<size_t>(size));
  for (int64_t head = 0; head < heads; ++head) {
    std::fill(values.begin(), values.end(), nan ? kNan : 0.0f);
    if (!nan) fill(c, request, position, head, absl::MakeSpan(values));
    for (int64_t d = 0; d < size; ++d) {
      StoreFloat(c.dtype, row.data(), head * size + d, values[d]);
    }
  }
  return row;
}

bool IsNan(const AttentionCase& c, int64_t request, int64_t position) {
  return request == c.nan_request && position >= c.nan_from;
}

// [heads][positions][head_size] as floats.
std::vector<float> DenseByHead(const AttentionCase& c, int64_t request, int64_t positions,
                               std::vector<uint8_t> (*row)(const AttentionCase&, int64_t,
                                                           int64_t)) {
  std::vector<float> dense(static_cast<size_t>(c.kv_heads * positions * c.head_size));
  for (int64_t p = 0; p < positions; ++p) {
    const std::vector<uint8_t> bytes = row(c, request, p);
    for (int64_t h = 0; h < c.kv_heads; ++h) {
      for (int64_t d = 0; d < c.head_size; ++d) {
        dense[(h * positions + p) * c.head_size + d] =
            LoadFloat(c.dtype, bytes.data(), h * c.head_size + d);
      }
    }
  }
  return dense;
}

}  // namespace

std::vector<uint8_t> QueryRow(const AttentionCase& c, int64_t request, int64_t position) {
  return Row(c, request, position, c.heads, FillQuery, false);
}

std::vector<uint8_t> KeyRow(const AttentionCase& c, int64_t request, int64_t position) {
  return Row(c, request, position, c.kv_heads, FillKey, c.nan_keys && IsNan(c, request, position));
}

std::vector<uint8_t> ValueRow(const AttentionCase& c, int64_t request, int64_t position) {
  return Row(c, request, position, c.kv_heads, FillValue,
             c.nan_values && IsNan(c, request, position));
}

ExpectedAttention ExpectAttention(const AttentionCase& c) {
  ExpectedAttention expected;
  expected.out = {c.dtype, {c.num_rows(), c.heads, c.head_size}, {}};
  expected.lse = {DType::kF32, {c.num_rows(), c.heads}, {}};
  const int64_t group = c.heads / c.kv_heads;
  std::vector<float> query(static_cast<size_t>(c.head_size));
  for (int64_t i = 0; i < static_cast<int64_t>(c.requests.size()); ++i) {
    const CaseRequest& request = c.requests[i];
    const int64_t positions = request.context + request.new_tokens;
    const std::vector<float> keys = DenseByHead(c, i, positions, KeyRow);
    const std::vector<float> values = DenseByHead(c, i, positions, ValueRow);
    for (int64_t p = request.context; p < positions; ++p) {
      expected.request_of_row.push_back(static_cast<int32_t>(i));
      const std::vector<uint8_t> row = QueryRow(c, i, p);
      for (int64_t head = 0; head < c.heads; ++head) {
        for (int64_t d = 0; d < c.head_size; ++d) {
          query[d] = LoadFloat(c.dtype, row.data(), head * c.head_size + d);
        }
        const size_t begin = static_cast<size_t>(head / group * positions * c.head_size);
        const OracleResult result = AttendRow(
            query, c.Spec().effective_scale(), p + 1, absl::MakeConstSpan(keys).subspan(begin),
            absl::MakeConstSpan(values).subspan(begin), c.head_size);
        expected.out.values.insert(expected.out.values.end(), result.out.begin(), result.out.end());
        expected.lse.values.push_back(result.lse);
        expected.max_abs_logit.push_back(result.max_abs_logit);
      }
    }
  }
  return expected;
}

}  // namespace weft::testing
