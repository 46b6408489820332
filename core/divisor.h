// SPDX-License-Identifier: Apache-2.0
//
// Divisor: division by a number that the host knows, for kernels. An integer division costs tens of
// instructions on a GPU; this is a product and a shift.
#ifndef WEFT_CORE_DIVISOR_H_
#define WEFT_CORE_DIVISOR_H_

#include <cstdint>

namespace weft {

// n / d as (n * multiplier) >> shift in 64 bits, for n < 2^31 and 1 <= d < 2^31.
//
// With l = ceil(log2 d) and multiplier = floor(2^(31+l) / d) + 1, the multiplier exceeds the true
// 2^(31+l) / d by at most 1, and the quotient by less than n / 2^(31+l) < 2^-l <= 1 / d: too
// little to reach the next integer.
struct Divisor {
  uint32_t multiplier = 0;
  uint32_t shift = 0;
};

constexpr Divisor MakeDivisor(uint32_t d) {
  uint32_t log = 0;
  while (log < 31 && (uint64_t{1} << log) < d) ++log;
  const uint64_t power = uint64_t{1} << (31 + log);
  return Divisor{static_cast<uint32_t>(power / d + 1), 31 + log};
}

}  // namespace weft

#endif  // WEFT_CORE_DIVISOR_H_
