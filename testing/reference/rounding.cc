// SPDX-License-Identifier: Apache-2.0
#include "testing/reference/rounding.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace weft {
namespace {

float RoundToOdd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value)) return nearest;
  uint32_t bits;
  std::memcpy(&bits, &nearest, 4);
  if ((bits & 1) != 0) return nearest;
  const float toward = static_cast<double>(nearest) < value
                           ? std::numeric_limits<float>::infinity()
                           : -std::numeric_limits<float>::infinity();
  return std::nextafter(nearest, toward);
}

}  // namespace

void StoreRounded(DType dtype, void* data, int64_t index, double value) {
  // Rounding to odd keeps what the second rounding needs to know, so that the two together round
  // once.
  StoreFloat(dtype, data, index,
             dtype == DType::kF32 ? static_cast<float>(value) : RoundToOdd(value));
}

}  // namespace weft
