// SPDX-License-Identifier: Apache-2.0
//
// Random numbers that are a function of where they are used: a stream is named by a few integers,
// and gives the same numbers on every machine.
#ifndef WEFT_TESTING_CONFORMANCE_RANDOM_H_
#define WEFT_TESTING_CONFORMANCE_RANDOM_H_

#include <cstdint>
#include <initializer_list>

namespace weft::testing {

class RandomStream {
 public:
  explicit RandomStream(std::initializer_list<uint64_t> name) {
    for (uint64_t part : name) state_ = Mix(state_ ^ Mix(part + kGolden));
  }

  uint64_t Next() { return Mix(state_ += kGolden); }

  // In [0, bound); bound > 0.
  uint64_t Below(uint64_t bound) { return Next() % bound; }

  // In [-1, 1).
  float Symmetric() { return static_cast<float>(Next() >> 40) * 0x1p-23f - 1.0f; }

 private:
  static constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

  // The finaliser of splitmix64.
  static uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  uint64_t state_ = 0;
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_RANDOM_H_
