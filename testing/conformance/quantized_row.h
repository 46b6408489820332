// SPDX-License-Identifier: Apache-2.0
//
// Rows of fp8 as the software conversions make them: what every device must store, to the bit.
#ifndef WEFT_TESTING_CONFORMANCE_QUANTIZED_ROW_H_
#define WEFT_TESTING_CONFORMANCE_QUANTIZED_ROW_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "testing/compare.h"

namespace weft::testing {

// The code of value / scale, the division rounded to f32. `to` is an fp8 type.
uint8_t QuantizedCode(DType to, float value, float scale);

// Row-major [heads, head_size] elements of `from` as elements of `to`: themselves if the two are
// one, fp8 codes otherwise. `scales`: none (1), one, or one for each head.
std::vector<uint8_t> QuantizedRow(absl::Span<const uint8_t> row, DType from, DType to,
                                  int64_t heads, absl::Span<const float> scales);

// The scale of a head.
float ScaleOf(absl::Span<const float> scales, int64_t head);

// OK if every stored e4m3 number is the one nearest to exact / scale (saturated), but where that
// lies so near the middle of two that the error before, within `tolerance`, decides. A NaN is a
// NaN. `extents` are those of the tensor, of three axes.
absl::Status CheckNearestE4M3(absl::Span<const uint8_t> codes, absl::Span<const double> exact,
                              float scale, const Tolerance& tolerance,
                              absl::Span<const int64_t> extents, const CompareContext& context);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_QUANTIZED_ROW_H_
