// SPDX-License-Identifier: Apache-2.0
#include "collectives/sum.h"

#include <cstring>

namespace weft {
namespace {

// Unsigned, because signed overflow is undefined.
template <typename T>
void SumIntegers(absl::Span<const uint8_t* const> parts, int64_t count, uint8_t* sum) {
  for (int64_t i = 0; i < count; ++i) {
    T total = 0;
    for (const uint8_t* part : parts) {
      T value;
      std::memcpy(&value, part + i * sizeof(T), sizeof(T));
      total += value;
    }
    std::memcpy(sum + i * sizeof(T), &total, sizeof(T));
  }
}

void SumFloats(DType dtype, absl::Span<const uint8_t* const> parts, int64_t count, uint8_t* sum) {
  for (int64_t i = 0; i < count; ++i) {
    // Starts with the first part and not with 0, which would turn a lone -0 into +0.
    float total = LoadFloat(dtype, parts[0], i);
    for (size_t part = 1; part < parts.size(); ++part) total += LoadFloat(dtype, parts[part], i);
    StoreFloat(dtype, sum, i, total);
  }
}

}  // namespace

void SumInOrder(DType dtype, absl::Span<const uint8_t* const> parts, int64_t count, uint8_t* sum) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      SumFloats(dtype, parts, count, sum);
      return;
    case DType::kI32:
      SumIntegers<uint32_t>(parts, count, sum);
      return;
    case DType::kI64:
      SumIntegers<uint64_t>(parts, count, sum);
      return;
    case DType::kU8:
      SumIntegers<uint8_t>(parts, count, sum);
      return;
    case DType::kF8E4M3:
    case DType::kF8E5M2:
      SumFloats(dtype, parts, count, sum);
      return;
  }
}

}  // namespace weft
