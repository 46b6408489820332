// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/gather_rows/arguments.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/divisor.h"
#include "core/dtype.h"
#include "core/tensor_view.h"
#include "cuda/kernels/row_groups.h"

namespace weft::cuda {
namespace {

// Integral part, as near as the type comes to it.
template <typename T>
T Integral(float value) {
  if (std::isnan(value)) return 0;
  if (value >= static_cast<float>(std::numeric_limits<T>::max())) {
    return std::numeric_limits<T>::max();
  }
  if (value <= static_cast<float>(std::numeric_limits<T>::min())) {
    return std::numeric_limits<T>::min();
  }
  return static_cast<T>(value);
}

template <typename T>
void Repeat(T element, uint8_t (&bytes)[16]) {
  for (size_t at = 0; at < sizeof(bytes); at += sizeof(T)) {
    std::memcpy(bytes + at, &element, sizeof(T));
  }
}

// 16 bytes of elements that hold `value`.
void MakeFill(DType dtype, float value, uint32_t (&fill)[4]) {
  uint8_t bytes[16];
  switch (dtype) {
    case DType::kU8:
      Repeat(Integral<uint8_t>(value), bytes);
      break;
    case DType::kI32:
      Repeat(Integral<int32_t>(value), bytes);
      break;
    case DType::kI64:
      Repeat(Integral<int64_t>(value), bytes);
      break;
    default:
      for (int64_t i = 0; i < 16 / SizeOf(dtype); ++i) StoreFloat(dtype, bytes, i, value);
  }
  std::memcpy(fill, bytes, sizeof(bytes));
}

}  // namespace

absl::StatusOr<GatherRowsLaunch> MapGatherRows(const GatherRowsArgs& args) {
  const TensorView& source = args.source;
  const TensorView& destination = args.destination;
  const int64_t element = SizeOf(source.dtype());
  GatherRowsLaunch launch;
  GatherRowsParams& p = launch.params;
  p.source = source.address();
  p.index = args.index.address();
  p.destination = destination.address();
  p.source_rows = source.extent(0);
  p.rows = destination.extent(0);
  p.source_row_stride = StrideBytes(p.source_rows, source.stride(0), element);
  p.destination_row_stride = StrideBytes(p.rows, destination.stride(0), element);
  MakeFill(source.dtype(), args.fill, p.fill);

  const int64_t row_bytes = destination.num_elements() / p.rows * element;
  const uint64_t bits =
      p.source | p.destination | p.source_row_stride | p.destination_row_stride | row_bytes;
  for (int bytes : kGatherUnitBytes) {
    launch.unit_bytes = bytes;
    if (bits % bytes == 0) break;
  }
  p.units_per_row = row_bytes / launch.unit_bytes;
  const int64_t parts = (p.units_per_row - 1) / kGatherUnitsOfPart + 1;
  if (parts > kMaxItems) {
    return absl::OutOfRangeError(absl::StrCat("gather_rows: rows of ", row_bytes, " bytes in ",
                                              parts, " parts, more than 31 bits count"));
  }
  p.parts = static_cast<uint32_t>(parts);
  p.by_parts = MakeDivisor(p.parts);
  p.lanes_log2 = LanesLog2(p.units_per_row, kGatherUnitsInFlight);
  return launch;
}

}  // namespace weft::cuda
