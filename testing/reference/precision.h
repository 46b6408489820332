// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_TESTING_REFERENCE_PRECISION_H_
#define WEFT_TESTING_REFERENCE_PRECISION_H_

#include <cstdint>
#include <string_view>

namespace weft {

// What the reference backend accumulates in.
enum class Precision : uint8_t { kFloat32, kFloat64 };

constexpr std::string_view Name(Precision precision) {
  return precision == Precision::kFloat32 ? "float32" : "float64";
}

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_PRECISION_H_
