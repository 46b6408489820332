// SPDX-License-Identifier: Apache-2.0
//
// Integer arithmetic that says when it overflows. Sizes and strides come from callers, so every
// product that becomes an address goes through here once, on the host, before a kernel may rely on
// it.
#ifndef WEFT_CORE_CHECKED_MATH_H_
#define WEFT_CORE_CHECKED_MATH_H_

#include <cstdint>
#include <optional>

namespace weft {

inline std::optional<int64_t> CheckedMul(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// ceil(a / b) for a >= 0, b > 0.
constexpr int64_t CeilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

}  // namespace weft

#endif  // WEFT_CORE_CHECKED_MATH_H_
