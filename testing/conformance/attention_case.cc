// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/attention_case.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

#include "testing/conformance/random.h"

namespace weft::testing {
namespace {

// Of a fused fp8 output: values of the cases lie within +-1, so that a row with one heavy key
// saturates.
constexpr float kOutScale = 0.0017f;

// Weak ones and strong ones, in no order.
std::vector<float> Slopes(HeadNumbers kind, int64_t heads) {
  constexpr float kSlopes[] = {0.01f, 0.25f, 0.003f, 0.0625f, 0.04f};
  std::vector<float> slopes;
  for (int64_t head = 0; head < heads && kind != HeadNumbers::kNone; ++head) {
    slopes.push_back(kind == HeadNumbers::kNeutral ? 0.0f : kSlopes[head % 5]);
  }
  return slopes;
}

// About as heavy as all planted keys together, lighter, far heavier, and none.
std::vector<float> Sinks(HeadNumbers kind, int64_t heads) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  constexpr float kSinks[] = {6.0f, -1.0f, 4.5f, 9.0f, kNone, 2.0f};
  std::vector<float> sinks;
  for (int64_t head = 0; head < heads && kind != HeadNumbers::kNone; ++head) {
    sinks.push_back(kind == HeadNumbers::kNeutral ? kNone : kSinks[head % 6]);
  }
  return sinks;
}

}  // namespace

std::vector<float> MakeScales(ScaleKind kind, int64_t kv_heads, int64_t repeat, bool keys) {
  std::vector<float> scales;
  if (kind == ScaleKind::kTensor) scales.push_back(keys ? 0.3f : 0.017f);
  if (kind != ScaleKind::kHead && kind != ScaleKind::kPowers) return scales;
  for (int64_t head = 0; head < kv_heads; ++head) {
    const int64_t i = (head / repeat + (keys ? 0 : 2)) % 5;
    scales.push_back(kind == ScaleKind::kPowers ? std::ldexp(1.0f, static_cast<int>(i) - 3)
                                                : 0.11f + 0.37f * static_cast<float>(i));
  }
  return scales;
}

absl::StatusOr<KvCacheLayout> MakeLayout(LayoutKind kind, DType dtype, int64_t block_size,
                                         int64_t kv_heads, int64_t head_size) {
  switch (kind) {
    case LayoutKind::kNhd:
      return KvCacheLayout::Nhd(dtype, block_size, kv_heads, head_size);
    case LayoutKind::kHnd:
      return KvCacheLayout::Hnd(dtype, block_size, kv_heads, head_size);
    case LayoutKind::kSplitX:  // the seed's x is 16 bytes of elements
      return KvCacheLayout::SplitX(dtype, block_size, kv_heads, head_size,
                                   std::gcd(16 / SizeOf(dtype), head_size));
    case LayoutKind::kApart:
      break;
  }
  // Tokens inside heads (HND order), every stride with a gap, keys and values with other gaps.
  const auto strides = [&](int64_t gap) {
    KvStrides s;
    s.token = head_size + gap;
    s.head = block_size * s.token + gap;
    s.block = kv_heads * s.head + gap;
    return s;
  };
  return KvCacheLayout::Strided(dtype, block_size, kv_heads, head_size, strides(2), strides(4), 0,
                                0);
}

int64_t AttentionCase::num_rows() const {
  int64_t rows = 0;
  for (const CaseRequest& request : requests) rows += request.new_tokens;
  return rows;
}

DType AttentionCase::kv_dtype() const {
  if (kv == KvKind::kSame) return dtype;
  return kv == KvKind::kE4M3 ? DType::kF8E4M3 : DType::kF8E5M2;
}

DType AttentionCase::output_dtype() const {
  if (out == OutKind::kSame) return dtype;
  return out == OutKind::kF32 ? DType::kF32 : DType::kF8E4M3;
}

DType AttentionCase::key_dtype() const {
  const bool new_only = keys == KeyMode::kNew || keys == KeyMode::kSplit;
  return fp8_query && new_only ? kv_dtype() : dtype;
}

bool AttentionCase::in_scope(const CaseRequest& request) const {
  return rows == RowScope::kAll ||
         (rows == RowScope::kDecodes) == (request.kind == RequestKind::kDecode);
}

AttentionSpec AttentionCase::Spec() const {
  AttentionSpec spec;
  spec.num_heads = heads;
  spec.num_kv_heads = kv_heads;
  spec.head_size = head_size;
  spec.dtype = dtype;
  spec.kv_dtype = kv_dtype();
  spec.fp8_query = fp8_query;
  if (out != OutKind::kSame) spec.out_dtype = output_dtype();
  if (out == OutKind::kE4M3) spec.out_scale = kOutScale;
  spec.scale = static_cast<float>(scale);
  spec.softcap = static_cast<float>(softcap);
  spec.window = window;
  spec.alibi_slopes = Slopes(alibi, heads);
  spec.sinks = Sinks(sinks, heads);
  spec.k_scales = MakeScales(scales, kv_heads, repeat, /*keys=*/true);
  spec.v_scales = MakeScales(scales, kv_heads, repeat, /*keys=*/false);
  spec.shares_kv_cache = keys == KeyMode::kShared;
  return spec;
}

absl::StatusOr<KvCacheLayout> AttentionCase::Layout() const {
  return MakeLayout(layout, kv_dtype(), block_size, kv_heads, head_size);
}

AttentionCase AttentionCase::Random(uint64_t seed) {
  RandomStream random({seed, 77});
  const auto pick = [&](auto list) { return list[random.Below(std::size(list))]; };
  AttentionCase c;
  c.seed = seed;
  const std::pair<DType, int64_t> shapes[] = {{DType::kF16, 64},
                                              {DType::kF16, 128},
                                              {DType::kBF16, 64},
                                              {DType::kBF16, 128},
                                              {DType::kF32, 64}};
  const auto& [dtype, head_size] = shapes[random.Below(std::size(shapes))];
  c.dtype = dtype;
  c.head_size = head_size;
  c.kv_heads = pick(std::vector<int64_t>{1, 2, 3});
  c.heads = c.kv_heads * pick(std::vector<int64_t>{1, 2, 3, 4, 5});
  c.block_size = pick(std::vector<int64_t>{1, 5, 16, 32, 100});
  c.pcp = pick(std::vector<int64_t>{1, 1, 1, 2, 3});
  c.lse = static_cast<LseKind>(random.Below(3));
  c.layout = random.Below(2) == 1 ? LayoutKind::kApart : LayoutKind::kNhd;
  c.io = random.Below(2) == 1 ? IoKind::kStrided : IoKind::kDense;
  c.segments = 1 + static_cast<int64_t>(random.Below(2));
  c.pages = random.Below(1000);
  const int64_t count = 1 + static_cast<int64_t>(random.Below(6));
  for (int64_t i = 0; i < count; ++i) {
    CaseRequest request;
    request.id = i;
    request.kind = random.Below(2) == 0 ? RequestKind::kDecode : RequestKind::kPrefill;
    request.new_tokens = request.kind == RequestKind::kDecode
                             ? pick(std::vector<int64_t>{1, 1, 1, 2})
                             : static_cast<int64_t>(random.Below(24));
    request.context = pick(std::vector<int64_t>{0, 1, 15, 16, 17, 100, 509, 520});
    if (request.kind == RequestKind::kDecode) {
      request.context = std::max<int64_t>(request.context, 1);
    }
    c.requests.push_back(request);
  }
  return c;
}

}  // namespace weft::testing
