// SPDX-License-Identifier: Apache-2.0
//
// Small tools of the mutant's operations: device addresses are host pointers.
#ifndef WEFT_TESTING_CONFORMANCE_MUTANT_MEMORY_H_
#define WEFT_TESTING_CONFORMANCE_MUTANT_MEMORY_H_

#include <cmath>
#include <cstdint>

#include "core/dtype.h"
#include "core/tensor_view.h"

namespace weft::testing {

template <typename T>
T* At(uint64_t address, int64_t index) {
  return reinterpret_cast<T*>(address) + index;
}

inline float Load(const TensorView& view, int64_t index) {
  return LoadFloat(view.dtype(), reinterpret_cast<const void*>(view.address()), index);
}

inline void Store(const TensorView& view, int64_t index, float value) {
  StoreFloat(view.dtype(), reinterpret_cast<void*>(view.address()), index, value);
}

// Of an array that may not be given.
inline float ValueOr(const TensorView& view, int64_t index, float otherwise) {
  return view.given() ? Load(view, index) : otherwise;
}

// An element of a tensor of two or three axes.
inline int64_t IndexOf(const TensorView& view, int64_t i, int64_t j, int64_t k = 0) {
  return i * view.stride(0) + j * view.stride(1) + (view.rank() > 2 ? k * view.stride(2) : 0);
}
// The same as if it had no gaps.
inline int64_t PackedIndex(const TensorView& view, int64_t i, int64_t j, int64_t k = 0) {
  const int64_t last = view.rank() > 2 ? view.extent(2) : 1;
  return (i * view.extent(1) + j) * last + k;
}

// How an fp8 code can be wrong.
enum class Fp8Fault { kNone, kOverflow, kTruncate, kAwayFromZero, kFlush, kNanZero };

inline uint8_t ToFp8(DType dtype, float value, Fp8Fault fault) {
  const float largest = dtype == DType::kF8E4M3 ? kMaxF8E4M3 : kMaxF8E5M2;
  uint8_t code = 0;
  StoreFloat(dtype, &code, 0, value);
  const float back = LoadFloat(dtype, &code, 0);
  const auto sign = static_cast<uint8_t>(code & 0x80);
  const int mantissa_bits = dtype == DType::kF8E4M3 ? 3 : 2;
  switch (fault) {
    case Fp8Fault::kNone:
      return code;
    case Fp8Fault::kOverflow:
      return std::abs(value) > largest ? static_cast<uint8_t>(sign | 0x7f) : code;
    case Fp8Fault::kTruncate:
      return std::abs(back) > std::abs(value) ? static_cast<uint8_t>(code - 1) : code;
    case Fp8Fault::kAwayFromZero: {
      const auto above = static_cast<uint8_t>(code + 1);
      const bool tie =
          std::abs(back) < largest && std::abs(LoadFloat(dtype, &above, 0)) - std::abs(value) ==
                                          std::abs(value) - std::abs(back);
      return tie ? above : code;
    }
    case Fp8Fault::kFlush:
      return (code & 0x7f) >> mantissa_bits == 0 ? sign : code;
    case Fp8Fault::kNanZero:
      return std::isnan(value) ? 0 : code;
  }
  return code;
}

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_MUTANT_MEMORY_H_
