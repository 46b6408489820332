// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/attention_checks.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/conformance/attention_data.h"
#include "testing/conformance/attention_runner.h"
#include "testing/conformance/quantized_row.h"

namespace weft::testing {
namespace {

bool IsPowerOfTwo(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

// Whether nothing but the weighted mean of the values is asked for, in numbers that are exact.
bool HasExactRows(const AttentionCase& c) {
  const bool data = c.data == DataKind::kEqualValues || c.data == DataKind::kZeroKeys;
  const bool scales = c.scales == ScaleKind::kNone || c.scales == ScaleKind::kPowers;
  const bool whole = (c.keys == KeyMode::kAll || c.keys == KeyMode::kShared) &&
                     c.rows == RowScope::kAll && c.window == 0;
  return data && scales && whole && c.out == OutKind::kSame && c.dtype != DType::kF32 &&
         c.sinks == HeadNumbers::kNone && c.alibi == HeadNumbers::kNone && c.nan_request < 0;
}

// The bits of `expected` rounded to the case's dtype, for the rows that `wanted` names.
absl::Status CheckExactRows(const AttentionCase& c, const AttentionOutput& actual,
                            const ExpectedAttention& expected, const CompareContext& context) {
  const int64_t row_values = c.heads * c.head_size;
  int64_t row = 0;
  for (const CaseRequest& request : c.requests) {
    for (int64_t t = 0; t < request.new_tokens; ++t, ++row) {
      const int64_t keys = request.context + t + 1;
      // With zero keys every weight is 1 and the sum of n small integers is exact; the mean is so
      // if n is a power of two that the significand has room for.
      if (c.data == DataKind::kZeroKeys && (!IsPowerOfTwo(keys) || keys > 128)) continue;
      for (int64_t i = row * row_values; i < (row + 1) * row_values; ++i) {
        const float value = LoadFloat(c.dtype, actual.out.data(), i);
        uint8_t rounded[4];
        StoreFloat(c.dtype, rounded, 0, static_cast<float>(expected.out.values[i]));
        const float exact = LoadFloat(c.dtype, rounded, 0);
        if (value == exact) continue;
        return absl::FailedPreconditionError(absl::StrCat(
            "out[", row, ", ", i % row_values / c.head_size, ", ", i % c.head_size, "] is ", value,
            ", must be exactly ", exact, "\n  case: ", context.case_line));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAttention(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, c));
  const ExpectedAttention expected = ExpectAttention(c);
  CompareContext context;
  context.case_line = c.ToString();
  context.request_of_row = expected.request_of_row;
  context.tensor = "out";
  if (c.out == OutKind::kE4M3) {
    RETURN_IF_ERROR(CheckNearestE4M3(actual.out, expected.out.values, c.Spec().out_scale,
                                     ToleranceFor(actual.weights), expected.out.extents, context));
  } else {
    RETURN_IF_ERROR(CompareTensors(DecodeTensor(c.output_dtype(), expected.out.extents, actual.out),
                                   expected.out, ToleranceFor(c.output_dtype(), actual.weights),
                                   context));
  }
  if (c.lse != LseKind::kNone) {
    context.tensor = "lse";
    RETURN_IF_ERROR(CompareLse(DecodeTensor(DType::kF32, expected.lse.extents, actual.lse),
                               expected.lse, expected.max_abs_logit, context));
  }
  if (!HasExactRows(c)) return absl::OkStatus();
  return CheckExactRows(c, actual, expected, context);
}

const std::vector<AttentionProperty>& AttentionProperties() {
  static const auto* const properties = [] {
    auto* all = new std::vector<AttentionProperty>(IndependenceProperties());
    const std::vector<AttentionProperty>& features = FeatureProperties();
    all->insert(all->end(), features.begin(), features.end());
    return all;
  }();
  return *properties;
}

}  // namespace weft::testing
