// SPDX-License-Identifier: Apache-2.0
//
// How results are judged (docs: numerical policy). Always in this order: shapes and dtypes; then
// the places of NaN and of the infinities, which must be the same; then differences, by two numbers
// for each tensor:
//
//   elementwise          max |error| / (atol + rtol |expected|), must be <= 1
//   relative Frobenius   ||error|| / ||expected||, over the finite elements
//
// A failure is one Status whose message holds the worst element with its coordinates, both values,
// request, row and head, and the one-line case that reproduces it.
#ifndef WEFT_TESTING_COMPARE_H_
#define WEFT_TESTING_COMPARE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/dtype.h"

namespace weft::testing {

// A tensor on the host, row-major. Values of every float dtype are held exactly.
struct HostTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> extents;
  std::vector<double> values;
};

// Decodes `bytes`, a row-major array of `extents` elements of a float dtype.
HostTensor DecodeTensor(DType dtype, absl::Span<const int64_t> extents,
                        absl::Span<const uint8_t> bytes);

struct Tolerance {
  double relative_frobenius = 0.0;
  double atol = 0.0;
  double rtol = 0.0;
};

// Of an output of `dtype`, against a float64 answer over the same inputs: f32 2e-6 and 2e-5, f16
// 6e-4 and 4e-3, bf16 3e-3 and 2e-2 (relative Frobenius; atol and rtol). For fp8, f8e4m3
// 4e-2, 1e-3 and 6.25e-2, f8e5m2 8e-2, 1e-5 and 1.25e-1: element by element half a step, of normal
// numbers and of denormals; over all half as much again as rounding random numbers gives. There the
// answer must count as the stored numbers do: divided by the scale and cut at the largest of them.
Tolerance ToleranceFor(DType dtype);

// Of an output that was made from numbers of `intermediate` (PreparedAttention::weight_dtype): the
// wider of the two.
Tolerance ToleranceFor(DType dtype, DType intermediate);

// What a report says of the place of an error. Axis 0 of a tensor is the row, axis 1 the head.
struct CompareContext {
  std::string case_line;                     // pasted back, it reproduces the failure
  std::string tensor;                        // "out"
  absl::Span<const int32_t> request_of_row;  // [rows], or empty if rows have no request
};

struct Difference {
  double worst_ratio = 0.0;         // max |error| / (atol + rtol |expected|)
  double relative_frobenius = 0.0;  // 0 if everything expected is 0 and so is the actual
  std::vector<int64_t> worst;       // coordinates of worst_ratio
};

// OK if `actual` is `expected` within `tolerance`; FAILED_PRECONDITION with the report otherwise.
// `expected.dtype` is the dtype that the result must have; its values need not be representable in
// it. `difference`, if given, receives the numbers where things got as far as step three.
absl::Status CompareTensors(const HostTensor& actual, const HostTensor& expected,
                            const Tolerance& tolerance, const CompareContext& context,
                            Difference* difference = nullptr);

// For LSEs, [rows, heads]: |error| <= (1e-5 + 4 ulp) * max(1, max_abs_logit), an ulp being 2^-23.
// Looser bounds hide a dropped key. `max_abs_logit` is [rows * heads].
absl::Status CompareLse(const HostTensor& actual, const HostTensor& expected,
                        absl::Span<const double> max_abs_logit, const CompareContext& context,
                        Difference* difference = nullptr);

// Bit equality of two row-major arrays of any dtype, with the first place that differs.
absl::Status CompareBits(DType dtype, absl::Span<const int64_t> extents,
                         absl::Span<const uint8_t> actual, absl::Span<const uint8_t> expected,
                         const CompareContext& context);

}  // namespace weft::testing

#endif  // WEFT_TESTING_COMPARE_H_
