// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/attention_checks.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/conformance/attention_data.h"
#include "testing/conformance/attention_runner.h"

namespace weft::testing {
namespace {

bool IsPowerOfTwo(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

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

// ---- Properties --------------------------------------------------------------------------------

// Rows [begin, begin + count) of a result.
AttentionOutput RowsOf(const AttentionCase& c, const AttentionOutput& all, int64_t begin,
                       int64_t count) {
  const auto cut = [&](const std::vector<uint8_t>& bytes, int64_t row_bytes) {
    if (bytes.empty()) return bytes;
    return std::vector<uint8_t>(bytes.begin() + begin * row_bytes,
                                bytes.begin() + (begin + count) * row_bytes);
  };
  return {cut(all.out, c.heads * c.head_size * SizeOf(c.dtype)), cut(all.lse, c.heads * 4)};
}

// `actual` comes from `varied`; `expected`, of the same rows, from `base`.
absl::Status SameBits(const AttentionCase& base, const AttentionOutput& expected,
                      const AttentionCase& varied, const AttentionOutput& actual) {
  CompareContext context;
  context.case_line = absl::StrCat(varied.ToString(), "\n  must be as in: ", base.ToString());
  const int64_t rows = static_cast<int64_t>(expected.out.size()) /
                       (base.heads * base.head_size * SizeOf(base.dtype));
  context.tensor = "out";
  RETURN_IF_ERROR(CompareBits(base.dtype, {rows, base.heads, base.head_size}, actual.out,
                              expected.out, context));
  if (actual.lse.empty() || expected.lse.empty()) return absl::OkStatus();
  context.tensor = "lse";
  return CompareBits(DType::kF32, {rows, base.heads}, actual.lse, expected.lse, context);
}

absl::Status CheckSame(Backend& backend, const AttentionCase& base,
                       const std::vector<AttentionCase>& variations) {
  ASSIGN_OR_RETURN(const AttentionOutput expected, RunAttention(backend, base));
  for (const AttentionCase& varied : variations) {
    ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, varied));
    RETURN_IF_ERROR(SameBits(base, expected, varied, actual));
  }
  return absl::OkStatus();
}

absl::Status CheckRepeat(Backend& backend, const AttentionCase& c) {
  return CheckSame(backend, c, {c});
}

absl::Status CheckPages(Backend& backend, const AttentionCase& c) {
  std::vector<AttentionCase> variations(2, c);
  variations[0].pages = c.pages + 1;
  variations[1].pages = c.pages + 2;
  variations[1].segments = c.segments + 2;
  return CheckSame(backend, c, variations);
}

absl::Status CheckPageSize(Backend& backend, const AttentionCase& c) {
  std::vector<AttentionCase> variations;
  for (int64_t size : {1, 3, 17, 64, 544}) {
    variations.push_back(c);
    variations.back().block_size = size;
  }
  return CheckSame(backend, c, variations);
}

absl::Status CheckLayout(Backend& backend, const AttentionCase& c) {
  std::vector<AttentionCase> variations(4, c);
  variations[0].layout = LayoutKind::kApart;
  variations[1].strided = true;
  variations[2].lse = LseKind::kStrided;
  variations[3].lse = LseKind::kNone;
  return CheckSame(backend, c, variations);
}

absl::Status CheckBatch(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput all, RunAttention(backend, c));
  AttentionCase reversed = c;
  std::reverse(reversed.requests.begin(), reversed.requests.end());
  ASSIGN_OR_RETURN(const AttentionOutput back, RunAttention(backend, reversed));
  int64_t row = 0;
  for (const CaseRequest& request : c.requests) {
    const AttentionOutput expected = RowsOf(c, all, row, request.new_tokens);
    row += request.new_tokens;
    RETURN_IF_ERROR(
        SameBits(c, expected, reversed, RowsOf(c, back, c.num_rows() - row, request.new_tokens)));
    AttentionCase alone = c;
    alone.requests = {request};
    ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, alone));
    RETURN_IF_ERROR(SameBits(c, expected, alone, actual));
  }
  return absl::OkStatus();
}

absl::Status CheckChunks(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput all, RunAttention(backend, c));
  int64_t row = 0;
  for (const CaseRequest& request : c.requests) {
    // Pieces of 1, of a length that fits no tile, and what remains.
    int64_t done = 0;
    for (int64_t piece : {int64_t{1}, int64_t{7}, request.new_tokens}) {
      piece = std::min(piece, request.new_tokens - done);
      if (piece <= 0) break;
      AttentionCase chunk = c;
      chunk.requests = {request};
      chunk.requests[0].context = request.context + done;
      chunk.requests[0].new_tokens = piece;
      ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, chunk));
      RETURN_IF_ERROR(SameBits(c, RowsOf(c, all, row + done, piece), chunk, actual));
      done += piece;
    }
    row += request.new_tokens;
  }
  return absl::OkStatus();
}

absl::Status CheckWorldSize(Backend& backend, const AttentionCase& c) {
  std::vector<AttentionCase> variations;
  for (int64_t ranks : {2, 3, 4}) {
    variations.push_back(c);
    variations.back().pcp = ranks;
  }
  return CheckSame(backend, c, variations);
}

// Rows before `from` of request `i` and all rows of others must keep their bits.
absl::Status CheckCausality(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput all, RunAttention(backend, c));
  int64_t row = 0;
  for (size_t i = 0; i < c.requests.size(); ++i) {
    const CaseRequest& request = c.requests[i];
    const int64_t seen = request.new_tokens / 2;  // rows that keep clear of the NaN
    for (const auto& [keys, values] : {std::pair(true, false), std::pair(false, true)}) {
      if (request.new_tokens < 2) break;
      AttentionCase poisoned = c;
      poisoned.nan_request = static_cast<int64_t>(i);
      poisoned.nan_from = request.context + seen;
      poisoned.nan_keys = keys;
      poisoned.nan_values = values;
      ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, poisoned));
      const int64_t end = row + request.new_tokens;
      RETURN_IF_ERROR(
          SameBits(c, RowsOf(c, all, 0, row + seen), poisoned, RowsOf(c, actual, 0, row + seen)));
      RETURN_IF_ERROR(SameBits(c, RowsOf(c, all, end, c.num_rows() - end), poisoned,
                               RowsOf(c, actual, end, c.num_rows() - end)));
    }
    row += request.new_tokens;
  }
  return absl::OkStatus();
}

absl::Status CheckIndependence(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput all, RunAttention(backend, c));
  AttentionCase changed = c;
  const size_t i = c.requests.size() / 2;
  changed.requests[i].id += 1000;
  ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, changed));
  int64_t begin = 0;
  for (size_t j = 0; j < i; ++j) begin += c.requests[j].new_tokens;
  const int64_t end = begin + c.requests[i].new_tokens;
  const auto compare = [&](int64_t first, int64_t last) {
    return SameBits(c, RowsOf(c, all, first, last - first), changed,
                    RowsOf(c, actual, first, last - first));
  };
  RETURN_IF_ERROR(compare(0, begin));
  RETURN_IF_ERROR(compare(end, c.num_rows()));
  if (end > begin && compare(begin, end).ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("other data in request ", i, " changed nothing\n  case: ", c.ToString()));
  }
  return absl::OkStatus();
}

absl::Status CheckSteps(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionSteps steps, RunAttentionSteps(backend, c));
  for (int step = 0; step < 2; ++step) {
    ASSIGN_OR_RETURN(const AttentionOutput expected, RunAttention(backend, steps.cases[step]));
    for (int layer = 0; layer < 2; ++layer) {
      const absl::Status same =
          SameBits(steps.cases[step], expected, steps.cases[step], steps.outputs[step][layer]);
      if (same.ok()) continue;
      return absl::Status(same.code(),
                          absl::StrCat("step ", step, " of 2, layer ", layer,
                                       " of 2, all submitted at once: ", same.message()));
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
  RETURN_IF_ERROR(CompareTensors(DecodeTensor(c.dtype, expected.out.extents, actual.out),
                                 expected.out, ToleranceFor(c.dtype), context));
  if (c.lse != LseKind::kNone) {
    context.tensor = "lse";
    RETURN_IF_ERROR(CompareLse(DecodeTensor(DType::kF32, expected.lse.extents, actual.lse),
                               expected.lse, expected.max_abs_logit, context));
  }
  const bool exact = c.data == DataKind::kEqualValues || c.data == DataKind::kZeroKeys;
  if (!exact || c.dtype == DType::kF32 || c.nan_request >= 0) return absl::OkStatus();
  return CheckExactRows(c, actual, expected, context);
}

const std::vector<AttentionProperty>& AttentionProperties() {
  static const auto* const properties = new std::vector<AttentionProperty>{
      {"repeat", CheckRepeat},
      {"pages", CheckPages},
      {"page_size", CheckPageSize},
      {"layout", CheckLayout},
      {"batch", CheckBatch},
      {"chunks", CheckChunks},
      {"world_size", CheckWorldSize},
      {"causality", CheckCausality},
      {"independence", CheckIndependence},
      {"steps", CheckSteps},
  };
  return *properties;
}

}  // namespace weft::testing
