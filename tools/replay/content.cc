// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/content.h"

#include <algorithm>

#include "core/dtype.h"
#include "core/plan.h"
#include "tools/replay/random.h"

namespace weft::replay {
namespace {

static_assert((kTableRows & (kTableRows - 1)) == 0, "rows are chosen by a mask");

// Elements are whole numbers over 8 in [-15, 15], of variance 1.25: the planted key's logit stands
// at 1.25 sqrt(head size), 10 for 64 and 14 for 128, those of the others around 0.
constexpr int kElementBound = 15;
constexpr float kElementUnit = 0.125f;

// Salts, so that the same numbers used for different things do not meet.
enum Salt : uint64_t { kSharedBlock = 1, kPrivateBlock = 2, kTable = 3, kQuery = 4 };

// One end of a random piece of `size` tokens in [begin, position]: its first token, or its last if
// that is visible.
int64_t Edge(int64_t begin, int64_t position, int64_t size, uint64_t random) {
  const int64_t piece = begin / size;
  const int64_t pieces = position / size + 1 - piece;
  const int64_t first = (piece + static_cast<int64_t>((random >> 1) % pieces)) * size;
  const int64_t last = first + size - 1;
  return (random & 1) != 0 && last <= position ? last : std::max(first, begin);
}

}  // namespace

Content::Content(const Workload& workload, const AttentionSpec& spec, int64_t page_tokens,
                 int64_t num_layers, uint64_t seed)
    : workload_(&workload), spec_(spec), page_tokens_(page_tokens), seed_(Mix(seed)) {
  tables_.resize(num_layers * kTableRows * 2 * spec.head_size);
  Random random(Mix(seed_, kTable));
  for (size_t i = 0; i < tables_.size(); ++i) {
    tables_[i] = static_cast<int8_t>(random.Below(2 * kElementBound + 1) - kElementBound);
  }
}

uint64_t Content::BlockId(int64_t request, int64_t position) const {
  const ReplayRequest& of = workload_->requests[request];
  if (of.hash_ids.empty() || position >= of.prompt_length) return Mix(kPrivateBlock, request);
  return Mix(kSharedBlock, of.hash_ids[position / workload_->hash_block]);
}

int64_t Content::KeyRow(int64_t request, int64_t position, int64_t kv_head) const {
  const uint64_t place = position * spec_.num_kv_heads + kv_head;
  return static_cast<int64_t>(Mix(seed_ ^ BlockId(request, position), place) & (kTableRows - 1));
}

int64_t Content::PlantedPosition(int64_t request, int64_t position, int64_t head,
                                 int64_t window) const {
  const uint64_t random = Mix(Mix(seed_ ^ kQuery, request), position * spec_.num_heads + head);
  const int64_t begin = window > 0 ? std::max<int64_t>(position - window + 1, 0) : 0;
  constexpr int64_t kRoles = 8;
  // Neighbouring rows and heads take different roles, so that a handful of samples meets all.
  switch ((head + position) % kRoles) {
    case 0:
      return begin;
    case 1:
      return position;
    case 2:
      return std::max(position - 1, begin);
    case 3:
      if (begin > 0) return begin - 1;                // not to be seen
      return position / page_tokens_ * page_tokens_;  // the first of its own page
    case 4:
      return Edge(begin, position, page_tokens_, random);
    case 5:
      return Edge(begin, position, kGranule, random);
    case 6:
      return std::max(position / kGranule * kGranule - 1, begin);
    default:
      return begin + static_cast<int64_t>(random % static_cast<uint64_t>(position + 1 - begin));
  }
}

int64_t Content::QueryRow(int64_t request, int64_t position, int64_t head, int64_t window) const {
  return KeyRow(request, PlantedPosition(request, position, head, window),
                head / spec_.group_size());
}

absl::Span<const int8_t> Content::Row(int64_t layer, int64_t row, bool value) const {
  const int64_t at = ((layer * kTableRows + row) * 2 + (value ? 1 : 0)) * spec_.head_size;
  return absl::MakeConstSpan(tables_).subspan(at, spec_.head_size);
}

std::vector<uint8_t> Content::TableBytes(int64_t layer) const {
  const int64_t elements = kTableRows * 2 * spec_.head_size;
  std::vector<uint8_t> bytes(elements * SizeOf(spec_.dtype));
  for (int64_t i = 0; i < elements; ++i) {
    StoreFloat(spec_.dtype, bytes.data(), i, tables_[layer * elements + i] * kElementUnit);
  }
  return bytes;
}

void Content::FetchKey(int64_t layer, int64_t row, absl::Span<float> key) const {
  const absl::Span<const int8_t> from = Row(layer, row, /*value=*/false);
  for (size_t i = 0; i < key.size(); ++i) key[i] = from[i] * kElementUnit;
}

void Content::FetchValue(int64_t layer, int64_t row, absl::Span<float> value) const {
  const absl::Span<const int8_t> from = Row(layer, row, /*value=*/true);
  for (size_t i = 0; i < value.size(); ++i) value[i] = from[i] * kElementUnit;
}

void Content::FetchCached(int64_t layer, int64_t row, int64_t kv_head, absl::Span<float> key,
                          absl::Span<float> value) const {
  FetchKey(layer, row, key);
  FetchValue(layer, row, value);
  if (!IsFp8(spec_.kv_dtype)) return;
  const auto round = [&](float scale, absl::Span<float> elements) {
    for (float& element : elements) {
      uint8_t code = 0;
      StoreFloat(spec_.kv_dtype, &code, 0, element / scale);
      element = LoadFloat(spec_.kv_dtype, &code, 0) * scale;
    }
  };
  round(spec_.k_scales[kv_head], key);
  round(spec_.v_scales[kv_head], value);
}

}  // namespace weft::replay
