// SPDX-License-Identifier: Apache-2.0
//
// Properties that say what features do.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/conformance/attention_checks.h"
#include "testing/conformance/attention_data.h"
#include "testing/conformance/attention_runner.h"
#include "testing/conformance/property_tools.h"

namespace weft::testing {
namespace {

absl::Status CheckKinds(Backend& backend, const AttentionCase& c) {
  AttentionCase flipped = c;
  for (CaseRequest& request : flipped.requests) {
    request.kind =
        request.kind == RequestKind::kDecode ? RequestKind::kPrefill : RequestKind::kDecode;
  }
  return CheckClose(backend, c, flipped, c.output_dtype());
}

absl::Status CheckSplit(Backend& backend, const AttentionCase& c) {
  AttentionCase split = c;
  split.keys = KeyMode::kSplit;
  split.sinks = HeadNumbers::kSome;
  RETURN_IF_ERROR(CheckAttention(backend, split));
  RETURN_IF_ERROR(CheckSame(backend, split, {split}));
  // Without a context the other state is all there is.
  AttentionCase fresh = c;
  fresh.keys = KeyMode::kNew;
  fresh.out = OutKind::kF32;
  fresh.sinks = HeadNumbers::kNone;
  for (CaseRequest& request : fresh.requests) request.context = 0;
  AttentionCase with_empty = fresh;
  with_empty.keys = KeyMode::kSplit;
  return CheckSame(backend, fresh, {with_empty});
}

// A row that sees itself alone gives its value, to the last bit.
absl::Status CheckOwnValue(Backend& backend, const AttentionCase& c) {
  AttentionCase own = c;
  own.window = 1;
  own.scales = ScaleKind::kNone;
  own.sinks = HeadNumbers::kNone;
  own.out = OutKind::kSame;
  ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, own));
  const ExpectedAttention expected = ExpectAttention(own);
  std::vector<uint8_t> bytes(actual.out.size());
  for (size_t i = 0; i < expected.out.values.size(); ++i) {
    StoreFloat(own.dtype, bytes.data(), static_cast<int64_t>(i),
               static_cast<float>(expected.out.values[i]));
  }
  CompareContext context;
  context.case_line = own.ToString();
  context.tensor = "out";
  return CompareBits(own.dtype, expected.out.extents, actual.out, bytes, context);
}

absl::Status CheckWindow(Backend& backend, const AttentionCase& c) {
  AttentionCase none = c;
  none.window = 0;
  none.evict = false;
  AttentionCase longer = none;
  for (const CaseRequest& request : c.requests) {
    longer.window = std::max(longer.window, request.context + request.new_tokens);
  }
  RETURN_IF_ERROR(CheckSame(backend, none, {longer}));
  RETURN_IF_ERROR(CheckOwnValue(backend, c));
  for (int64_t window : {2, 17}) {
    AttentionCase evicted = c;
    evicted.window = window;
    evicted.evict = true;
    RETURN_IF_ERROR(CheckAttention(backend, evicted));
  }
  return absl::OkStatus();
}

absl::Status CheckGqa(Backend& backend, const AttentionCase& c) {
  AttentionCase repeated = c;
  repeated.kv_heads = c.heads;
  repeated.repeat = c.heads / c.kv_heads;
  return CheckClose(backend, c, repeated, c.output_dtype());
}

absl::Status CheckAlibi(Backend& backend, const AttentionCase& c) {
  AttentionCase none = c;
  none.alibi = HeadNumbers::kNone;
  AttentionCase zero = c;
  zero.alibi = HeadNumbers::kNeutral;
  RETURN_IF_ERROR(CheckSame(backend, none, {zero}));
  AttentionCase near = c;
  near.alibi = HeadNumbers::kSome;
  near.window = 33;
  for (CaseRequest& request : near.requests)
    request.context = std::max<int64_t>(request.context, 33);
  AttentionCase far = near;
  far.shift = kGranule;
  for (CaseRequest& request : far.requests) request.context += kGranule;
  return CheckSame(backend, near, {far});
}

absl::Status CheckSoftcap(Backend& backend, const AttentionCase& c) {
  AttentionCase none = c;
  none.softcap = 0;
  AttentionCase large = c;
  large.softcap = 1000;
  return CheckClose(backend, none, large, DType::kBF16);
}

absl::Status CheckSinks(Backend& backend, const AttentionCase& c) {
  AttentionCase none = c;
  none.sinks = HeadNumbers::kNone;
  AttentionCase minus = c;
  minus.sinks = HeadNumbers::kNeutral;
  RETURN_IF_ERROR(CheckSame(backend, none, {minus}));
  AttentionCase some = c;
  some.sinks = HeadNumbers::kSome;
  RETURN_IF_ERROR(CheckAttention(backend, some));
  some.pcp = 3;
  RETURN_IF_ERROR(CheckAttention(backend, some));
  some.keys = KeyMode::kSplit;
  return CheckAttention(backend, some);
}

absl::Status CheckScale(Backend& backend, const AttentionCase& c) {
  AttentionCase doubled = c;
  doubled.query_factor = 2;
  doubled.scale = static_cast<double>(c.Spec().effective_scale() / 2.0f);
  RETURN_IF_ERROR(CheckSame(backend, c, {doubled}));
  AttentionCase plain = c;
  plain.kv = KvKind::kSame;
  plain.scales = ScaleKind::kNone;
  plain.fp8_query = false;
  AttentionCase twice = plain;
  twice.value_factor = 2;
  ASSIGN_OR_RETURN(const AttentionOutput one, RunAttention(backend, plain));
  ASSIGN_OR_RETURN(AttentionOutput two, RunAttention(backend, twice));
  for (int64_t i = 0; i < static_cast<int64_t>(two.out.size()) / SizeOf(c.output_dtype()); ++i) {
    // Below this a 16-bit number has fewer digits than its double.
    constexpr float kNormal = 0x1p-13f;
    const float once = LoadFloat(c.output_dtype(), one.out.data(), i);
    const float half = LoadFloat(c.output_dtype(), two.out.data(), i) / 2.0f;
    const bool tiny = std::abs(once) < kNormal && std::abs(half) < kNormal;
    StoreFloat(c.output_dtype(), two.out.data(), i, tiny ? once : half);
  }
  return SameBits(plain, one, twice, two);
}

absl::Status CheckOrder(Backend& backend, const AttentionCase& c) {
  AttentionCase plain = c;
  plain.window = 0;
  plain.evict = false;
  plain.alibi = HeadNumbers::kNone;
  AttentionCase reversed = plain;
  reversed.reverse = true;
  return CheckClose(backend, plain, reversed, c.output_dtype());
}

absl::Status CheckQuantized(Backend& backend, const AttentionCase& c) {
  AttentionCase plain = c;
  plain.data = DataKind::kCoarse;
  plain.kv = KvKind::kSame;
  plain.scales = ScaleKind::kNone;
  plain.fp8_query = false;
  std::vector<AttentionCase> variations;
  for (const auto& [kv, scales] : {std::pair(KvKind::kE4M3, ScaleKind::kPowers),
                                   {KvKind::kE5M2, ScaleKind::kPowers},
                                   {KvKind::kE4M3, ScaleKind::kNone}}) {
    variations.push_back(plain);
    variations.back().kv = kv;
    variations.back().scales = scales;
  }
  return CheckSame(backend, plain, variations);
}

}  // namespace

const std::vector<AttentionProperty>& FeatureProperties() {
  static const auto* const properties = new std::vector<AttentionProperty>{
      {"kinds", CheckKinds},   {"split", CheckSplit},
      {"window", CheckWindow}, {"gqa", CheckGqa},
      {"alibi", CheckAlibi},   {"softcap", CheckSoftcap},
      {"sinks", CheckSinks},   {"scale", CheckScale},
      {"order", CheckOrder},   {"quantized", CheckQuantized},
  };
  return *properties;
}

}  // namespace weft::testing
