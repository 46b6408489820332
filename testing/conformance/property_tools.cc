// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/property_tools.h"

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/compare.h"

namespace weft::testing {
namespace {

std::string Both(const AttentionCase& base, const AttentionCase& varied) {
  return absl::StrCat(varied.ToString(), "\n  must be as in: ", base.ToString());
}

}  // namespace

AttentionOutput RowsOf(const AttentionCase& c, const AttentionOutput& all, int64_t begin,
                       int64_t count) {
  const auto cut = [&](const std::vector<uint8_t>& bytes, int64_t row_bytes) {
    if (bytes.empty()) return bytes;
    return std::vector<uint8_t>(bytes.begin() + begin * row_bytes,
                                bytes.begin() + (begin + count) * row_bytes);
  };
  return {cut(all.out, c.heads * c.head_size * SizeOf(c.output_dtype())), cut(all.lse, c.heads * 4),
          all.weights};
}

absl::Status SameBits(const AttentionCase& base, const AttentionOutput& expected,
                      const AttentionCase& varied, const AttentionOutput& actual) {
  CompareContext context;
  context.case_line = Both(base, varied);
  const DType dtype = base.output_dtype();
  const int64_t rows =
      static_cast<int64_t>(expected.out.size()) / (base.heads * base.head_size * SizeOf(dtype));
  context.tensor = "out";
  const std::vector<int64_t> extents = {rows, base.heads, base.head_size};
  if (actual.weights == expected.weights) {
    RETURN_IF_ERROR(CompareBits(dtype, extents, actual.out, expected.out, context));
  } else {  // rounded otherwise on the way
    RETURN_IF_ERROR(CompareTensors(DecodeTensor(dtype, extents, actual.out),
                                   DecodeTensor(dtype, extents, expected.out), ToleranceFor(dtype),
                                   context));
  }
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

absl::Status CheckClose(Backend& backend, const AttentionCase& base, const AttentionCase& varied,
                        DType tolerance_dtype) {
  ASSIGN_OR_RETURN(const AttentionOutput expected, RunAttention(backend, base));
  ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, varied));
  CompareContext context;
  context.case_line = Both(base, varied);
  context.tensor = "out";
  const std::vector<int64_t> extents = {base.num_rows(), base.heads, base.head_size};
  const DType dtype = base.output_dtype();
  return CompareTensors(DecodeTensor(dtype, extents, actual.out),
                        DecodeTensor(dtype, extents, expected.out), ToleranceFor(tolerance_dtype),
                        context);
}

}  // namespace weft::testing
