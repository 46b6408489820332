// SPDX-License-Identifier: Apache-2.0
#include "testing/reference/widen.h"

#include <vector>

namespace weft {
namespace {

const std::vector<float>* MakeTable(DType dtype) {
  const int64_t size = SizeOf(dtype);
  auto* values = new std::vector<float>(size_t{1} << (8 * size));
  for (size_t code = 0; code < values->size(); ++code) {
    const auto bits = static_cast<uint16_t>(code);
    const auto byte = static_cast<uint8_t>(code);
    (*values)[code] = size == 1 ? LoadFloat(dtype, &byte, 0) : LoadFloat(dtype, &bits, 0);
  }
  return values;
}

}  // namespace

const float* ValuesOfCodes(DType dtype) {
  static const auto* const f16 = MakeTable(DType::kF16);
  static const auto* const bf16 = MakeTable(DType::kBF16);
  static const auto* const e4m3 = MakeTable(DType::kF8E4M3);
  static const auto* const e5m2 = MakeTable(DType::kF8E5M2);
  switch (dtype) {
    case DType::kF16:
      return f16->data();
    case DType::kBF16:
      return bf16->data();
    case DType::kF8E4M3:
      return e4m3->data();
    case DType::kF8E5M2:
      return e5m2->data();
    default:
      return nullptr;
  }
}

}  // namespace weft
