// SPDX-License-Identifier: Apache-2.0
#include "core/divisor.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

uint32_t Divide(uint32_t n, Divisor d) {
  return static_cast<uint32_t>((uint64_t{n} * d.multiplier) >> d.shift);
}

TEST(DivisorTest, IsExact) {
  const uint32_t largest = 0x7fffffff;
  std::vector<uint32_t> divisors = {largest,    largest - 1, 0x40000001,
                                    0x40000000, 0x3fffffff,  65537};
  for (uint32_t d = 1; d <= 4096; ++d) divisors.push_back(d);
  for (const uint32_t d : divisors) {
    const Divisor divisor = MakeDivisor(d);
    std::vector<uint32_t> numbers = {0, 1, largest, largest - 1, 0x40000000, 123456789};
    // Either side of multiples, the largest included.
    for (const uint32_t q : {1u, 2u, 3u, 1000u, largest / d / 2, largest / d}) {
      const uint64_t n = uint64_t{q} * d;
      if (n > largest) continue;
      numbers.push_back(static_cast<uint32_t>(n));
      if (n > 0) numbers.push_back(static_cast<uint32_t>(n - 1));
    }
    for (const uint32_t n : numbers) ASSERT_EQ(Divide(n, divisor), n / d) << n << " / " << d;
  }
}

}  // namespace
}  // namespace weft
