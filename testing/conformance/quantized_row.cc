// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/quantized_row.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace weft::testing {

uint8_t QuantizedCode(DType to, float value, float scale) {
  uint8_t code = 0;
  StoreFloat(to, &code, 0, value / scale);
  return code;
}

float ScaleOf(absl::Span<const float> scales, int64_t head) {
  if (scales.empty()) return 1.0f;
  return scales[scales.size() == 1 ? 0 : static_cast<size_t>(head)];
}

std::vector<uint8_t> QuantizedRow(absl::Span<const uint8_t> row, DType from, DType to,
                                  int64_t heads, absl::Span<const float> scales) {
  if (from == to) return std::vector<uint8_t>(row.begin(), row.end());
  const int64_t count = static_cast<int64_t>(row.size()) / SizeOf(from);
  std::vector<uint8_t> codes(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const float scale = ScaleOf(scales, i / (count / heads));
    codes[i] = QuantizedCode(to, LoadFloat(from, row.data(), i), scale);
  }
  return codes;
}

absl::Status CheckNearestE4M3(absl::Span<const uint8_t> codes, absl::Span<const double> exact,
                              float scale, const Tolerance& tolerance,
                              absl::Span<const int64_t> extents, const CompareContext& context) {
  for (size_t i = 0; i < exact.size(); ++i) {
    const double value = exact[i] / double{scale};
    const double got = F8E4M3ToF32(codes[i]);
    const double best = F8E4M3ToF32(F32ToF8E4M3(static_cast<float>(value)));
    if (std::isnan(value) && std::isnan(got)) continue;
    const double doubt = tolerance.atol / double{scale} + tolerance.rtol * std::abs(value);
    const bool right =
        std::isinf(value) ? got == best : std::abs(got - value) <= std::abs(best - value) + doubt;
    if (right) continue;
    const int64_t at = static_cast<int64_t>(i);
    return absl::FailedPreconditionError(absl::StrCat(
        context.tensor, "[", at / (extents[1] * extents[2]), ", ", at / extents[2] % extents[1],
        ", ", at % extents[2], "] is stored as ", got, ", must be the nearest to ", value,
        ", which is ", best, "\n  case: ", context.case_line));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
