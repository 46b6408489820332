// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/judge.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/device_io.h"

namespace weft::bench {
namespace {

// A queue keeps the staging memory of its largest copy.
constexpr int64_t kPieceBytes = int64_t{32} << 20;

// By bits: a call for each of a hundred million elements takes long.
bool IsNan(DType dtype, const uint8_t* data, int64_t element) {
  if (dtype == DType::kF32) {
    uint32_t bits = 0;
    std::memcpy(&bits, data + 4 * element, 4);
    return (bits & 0x7fffffffu) > 0x7f800000u;
  }
  if (dtype == DType::kBF16 || dtype == DType::kF16) {
    uint16_t bits = 0;
    std::memcpy(&bits, data + 2 * element, 2);
    return (bits & 0x7fff) > (dtype == DType::kBF16 ? 0x7f80 : 0x7c00);
  }
  return std::isnan(LoadFloat(dtype, data, element));
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> Fetch(Queue& queue, uint64_t address, int64_t bytes) {
  return testing::Download(queue, address, bytes);
}

absl::Status CheckWritten(Queue& queue, DType dtype, uint64_t address, int64_t rows,
                          int64_t row_elements) {
  const int64_t row_bytes = row_elements * SizeOf(dtype);
  const int64_t rows_a_piece = std::max<int64_t>(kPieceBytes / std::max<int64_t>(row_bytes, 1), 1);
  for (int64_t row = 0; row < rows; row += rows_a_piece) {
    const int64_t count = std::min(rows_a_piece, rows - row);
    ASSIGN_OR_RETURN(
        const std::vector<uint8_t> piece,
        Fetch(queue, address + static_cast<uint64_t>(row * row_bytes), count * row_bytes));
    for (int64_t i = 0; i < count * row_elements; ++i) {
      if (!IsNan(dtype, piece.data(), i)) continue;
      return absl::FailedPreconditionError(absl::StrCat("row ", row + i / row_elements,
                                                        ", element ", i % row_elements,
                                                        ": NaN, as before the work"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckVector(DType dtype, absl::Span<const uint8_t> actual,
                         absl::Span<const double> expected, const std::string& where) {
  const int64_t extents[] = {1, 1, static_cast<int64_t>(expected.size())};
  const testing::HostTensor wanted{dtype,
                                   {extents[0], extents[1], extents[2]},
                                   std::vector<double>(expected.begin(), expected.end())};
  testing::CompareContext context;
  context.case_line = where;
  context.tensor = "out";
  return testing::CompareTensors(testing::DecodeTensor(dtype, extents, actual), wanted,
                                 testing::ToleranceFor(dtype), context);
}

absl::Status CheckLseValue(float actual, double expected, double max_abs_logit,
                           const std::string& where) {
  const testing::HostTensor got{DType::kF32, {1, 1}, {actual}};
  const testing::HostTensor wanted{DType::kF32, {1, 1}, {expected}};
  testing::CompareContext context;
  context.case_line = where;
  context.tensor = "lse";
  return testing::CompareLse(got, wanted, {max_abs_logit}, context);
}

absl::Status CheckBytes(absl::Span<const uint8_t> actual, absl::Span<const uint8_t> expected,
                        const std::string& where) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (actual[i] == expected[i]) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(where, ": byte ", i, " is ", actual[i], ", must be ", expected[i]));
  }
  return absl::OkStatus();
}

}  // namespace weft::bench
