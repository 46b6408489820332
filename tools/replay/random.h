// SPDX-License-Identifier: Apache-2.0
//
// Random numbers that are the same on every machine: the algorithms are written out here, since
// those of <random>'s distributions are not specified.
#ifndef WEFT_TOOLS_REPLAY_RANDOM_H_
#define WEFT_TOOLS_REPLAY_RANDOM_H_

#include <cstdint>

namespace weft::replay {

// Steele, Lea and Flood's finaliser: a bijection of 64 bits that leaves no visible structure.
constexpr uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

constexpr uint64_t Mix(uint64_t a, uint64_t b) { return Mix(Mix(a) ^ b); }

class Random {
 public:
  explicit Random(uint64_t seed) : state_(Mix(seed)) {}

  uint64_t Next() { return Mix(state_++); }
  // In [0, n), n >= 1. The bias of at most n / 2^64 does not matter here.
  int64_t Below(int64_t n) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(n)); }
  // In [0, 1), 53 bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_RANDOM_H_
