// SPDX-License-Identifier: Apache-2.0
#include "testing/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/status_macros.h"

namespace weft::testing {
namespace {

constexpr double kLseTolerance = 1e-5 + 4.0 / (1 << 23);

std::string ShapeText(DType dtype, absl::Span<const int64_t> extents) {
  return absl::StrCat(Name(dtype), "[", absl::StrJoin(extents, ", "), "]");
}

int64_t NumElements(absl::Span<const int64_t> extents) {
  int64_t count = 1;
  for (int64_t extent : extents) count *= extent;
  return count;
}

std::vector<int64_t> CoordinatesOf(int64_t index, absl::Span<const int64_t> extents) {
  std::vector<int64_t> coordinates(extents.size());
  for (size_t axis = extents.size(); axis-- > 0;) {
    coordinates[axis] = index % extents[axis];
    index /= extents[axis];
  }
  return coordinates;
}

// "out[5, 3, 17] (request 2, row 5, head 3)".
std::string PlaceText(absl::Span<const int64_t> coordinates, const CompareContext& context) {
  std::string text = absl::StrCat(context.tensor, "[", absl::StrJoin(coordinates, ", "), "]");
  if (coordinates.empty() || context.request_of_row.empty()) return text;
  const int64_t row = coordinates[0];
  const int64_t rows = static_cast<int64_t>(context.request_of_row.size());
  absl::StrAppend(&text, " (request ",
                  row < rows ? absl::StrCat(context.request_of_row[row]) : "none", ", row ", row,
                  coordinates.size() > 1 ? absl::StrCat(", head ", coordinates[1]) : "", ")");
  return text;
}

template <typename... T>
absl::Status Mismatch(const CompareContext& context, const T&... text) {
  return absl::FailedPreconditionError(
      absl::StrCat(text..., context.case_line.empty() ? "" : "\n  case: ", context.case_line));
}

absl::Status CompareShapes(const HostTensor& actual, const HostTensor& expected,
                           const CompareContext& context) {
  if (actual.dtype != expected.dtype || actual.extents != expected.extents) {
    return Mismatch(context, context.tensor, " is ", ShapeText(actual.dtype, actual.extents),
                    ", expected ", ShapeText(expected.dtype, expected.extents));
  }
  const int64_t count = NumElements(expected.extents);
  if (static_cast<int64_t>(actual.values.size()) != count ||
      static_cast<int64_t>(expected.values.size()) != count) {
    return Mismatch(context, context.tensor, " holds ", actual.values.size(), " values, expected ",
                    expected.values.size(), ", the shape has ", count);
  }
  return absl::OkStatus();
}

bool SameClass(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return true;
}

absl::Status CompareClasses(const HostTensor& actual, const HostTensor& expected,
                            const CompareContext& context) {
  int64_t first = -1;
  int64_t wrong = 0;
  for (size_t i = 0; i < expected.values.size(); ++i) {
    if (SameClass(actual.values[i], expected.values[i])) continue;
    if (wrong++ == 0) first = static_cast<int64_t>(i);
  }
  if (wrong == 0) return absl::OkStatus();
  return Mismatch(context, PlaceText(CoordinatesOf(first, expected.extents), context), " is ",
                  actual.values[first], ", expected ", expected.values[first],
                  ": NaN or infinity at other places, ", wrong, " of ", expected.values.size());
}

// `bound` gives the |error| that element `index` may have.
Difference Measure(const HostTensor& actual, const HostTensor& expected,
                   absl::FunctionRef<double(int64_t index)> bound) {
  Difference difference;
  double error_squares = 0.0;
  double expected_squares = 0.0;
  int64_t worst = 0;
  for (size_t i = 0; i < expected.values.size(); ++i) {
    if (!std::isfinite(expected.values[i])) continue;
    const double error = std::abs(actual.values[i] - expected.values[i]);
    error_squares += error * error;
    expected_squares += expected.values[i] * expected.values[i];
    const double allowed = bound(static_cast<int64_t>(i));
    const double ratio = error == 0.0 ? 0.0 : error / allowed;  // allowed may be 0
    if (ratio > difference.worst_ratio) {
      difference.worst_ratio = ratio;
      worst = static_cast<int64_t>(i);
    }
  }
  if (error_squares > 0.0) {
    difference.relative_frobenius = std::sqrt(error_squares / expected_squares);
  }
  if (!expected.values.empty()) difference.worst = CoordinatesOf(worst, expected.extents);
  return difference;
}

int64_t IndexOf(absl::Span<const int64_t> coordinates, absl::Span<const int64_t> extents) {
  int64_t index = 0;
  for (size_t axis = 0; axis < extents.size(); ++axis) {
    index = index * extents[axis] + coordinates[axis];
  }
  return index;
}

absl::Status CompareMeasured(const HostTensor& actual, const HostTensor& expected,
                             const CompareContext& context, double relative_frobenius,
                             absl::FunctionRef<double(int64_t index)> bound, Difference* out) {
  RETURN_IF_ERROR(CompareShapes(actual, expected, context));
  RETURN_IF_ERROR(CompareClasses(actual, expected, context));
  const Difference difference = Measure(actual, expected, bound);
  if (out != nullptr) *out = difference;
  // Written so that a NaN fails.
  if (difference.worst_ratio <= 1.0 && difference.relative_frobenius <= relative_frobenius) {
    return absl::OkStatus();
  }
  const int64_t worst = IndexOf(difference.worst, expected.extents);
  return Mismatch(
      context, PlaceText(difference.worst, context), " is ",
      absl::StrFormat("%.9g, expected %.9g, %.3g times the allowed error (%.3g); relative "
                      "Frobenius error %.3g, allowed %.3g",
                      actual.values[worst], expected.values[worst], difference.worst_ratio,
                      bound(worst), difference.relative_frobenius, relative_frobenius));
}

}  // namespace

HostTensor DecodeTensor(DType dtype, absl::Span<const int64_t> extents,
                        absl::Span<const uint8_t> bytes) {
  HostTensor tensor;
  tensor.dtype = dtype;
  tensor.extents.assign(extents.begin(), extents.end());
  tensor.values.resize(bytes.size() / static_cast<size_t>(SizeOf(dtype)));
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    tensor.values[i] = LoadFloat(dtype, bytes.data(), static_cast<int64_t>(i));
  }
  return tensor;
}

Tolerance ToleranceFor(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {2e-6, 2e-5, 2e-5};
    case DType::kF16:
      return {6e-4, 4e-3, 4e-3};
    case DType::kBF16:
      return {3e-3, 2e-2, 2e-2};
    case DType::kF8E4M3:
      return {4e-2, 1e-3, 6.25e-2};
    case DType::kF8E5M2:
      return {8e-2, 1e-5, 1.25e-1};
    default:
      return {};  // integers are equal or they are not
  }
}

Tolerance ToleranceFor(DType dtype, DType intermediate) {
  const Tolerance a = ToleranceFor(dtype);
  const Tolerance b = ToleranceFor(intermediate);
  return {std::max(a.relative_frobenius, b.relative_frobenius), std::max(a.atol, b.atol),
          std::max(a.rtol, b.rtol)};
}

absl::Status CompareTensors(const HostTensor& actual, const HostTensor& expected,
                            const Tolerance& tolerance, const CompareContext& context,
                            Difference* difference) {
  const auto bound = [&](int64_t i) {
    return tolerance.atol + tolerance.rtol * std::abs(expected.values[i]);
  };
  return CompareMeasured(actual, expected, context, tolerance.relative_frobenius, bound,
                         difference);
}

absl::Status CompareLse(const HostTensor& actual, const HostTensor& expected,
                        absl::Span<const double> max_abs_logit, const CompareContext& context,
                        Difference* difference) {
  if (max_abs_logit.size() != expected.values.size()) {
    return absl::InvalidArgumentError(absl::StrCat("CompareLse: ", max_abs_logit.size(),
                                                   " logits for ", expected.values.size(),
                                                   " values of ", context.tensor));
  }
  const auto bound = [&](int64_t i) { return kLseTolerance * std::max(1.0, max_abs_logit[i]); };
  // The elementwise bound is all there is: an LSE near 0 has no meaningful relative error.
  return CompareMeasured(actual, expected, context, std::numeric_limits<double>::infinity(), bound,
                         difference);
}

absl::Status CompareBits(DType dtype, absl::Span<const int64_t> extents,
                         absl::Span<const uint8_t> actual, absl::Span<const uint8_t> expected,
                         const CompareContext& context) {
  const size_t size = static_cast<size_t>(SizeOf(dtype));
  const size_t bytes = static_cast<size_t>(NumElements(extents)) * size;
  if (actual.size() != bytes || expected.size() != bytes) {
    return Mismatch(context, context.tensor, " has ", actual.size(), " bytes, expected ",
                    expected.size(), ", ", ShapeText(dtype, extents), " has ", bytes);
  }
  int64_t first = -1;
  int64_t wrong = 0;
  for (size_t i = 0; i * size < bytes; ++i) {
    if (std::memcmp(&actual[i * size], &expected[i * size], size) == 0) continue;
    if (wrong++ == 0) first = static_cast<int64_t>(i);
  }
  if (wrong == 0) return absl::OkStatus();
  const auto text = [&](absl::Span<const uint8_t> array) {
    std::string bits;
    for (size_t i = size; i-- > 0;) {
      absl::StrAppend(&bits, absl::Hex(array[first * size + i], absl::kZeroPad2));
    }
    return IsFloat(dtype) || IsFp8(dtype)
               ? absl::StrCat(LoadFloat(dtype, array.data(), first), " (0x", bits, ")")
               : absl::StrCat("0x", bits);
  };
  return Mismatch(context, PlaceText(CoordinatesOf(first, extents), context), " is ", text(actual),
                  ", expected the bits of ", text(expected), "; ", wrong, " of ",
                  NumElements(extents), " elements differ");
}

}  // namespace weft::testing
