// SPDX-License-Identifier: Apache-2.0
//
// Fingerprint: a 64-bit hash of plain values, the same on every machine and in every run. It tells
// whether two ranks, or a plan and a layer, speak of the same thing; it is no defence against an
// adversary.
#ifndef WEFT_CORE_FINGERPRINT_H_
#define WEFT_CORE_FINGERPRINT_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/types/span.h"

namespace weft {

class Fingerprint {
 public:
  Fingerprint& Add(uint64_t value) {
    // The finaliser of splitmix64, over a running sum that makes order count.
    state_ = (state_ ^ value) + 0x9e3779b97f4a7c15u;
    state_ = (state_ ^ (state_ >> 30)) * 0xbf58476d1ce4e5b9u;
    state_ = (state_ ^ (state_ >> 27)) * 0x94d049bb133111ebu;
    state_ ^= state_ >> 31;
    return *this;
  }
  Fingerprint& Add(float value) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    return Add(uint64_t{bits});
  }
  template <typename T, typename = std::enable_if_t<std::is_integral_v<T> || std::is_enum_v<T>>>
  Fingerprint& Add(T value) {
    return Add(static_cast<uint64_t>(value));
  }
  // The length is part of it.
  template <typename T>
  Fingerprint& AddAll(absl::Span<const T> values) {
    Add(static_cast<uint64_t>(values.size()));
    for (const T& value : values) Add(value);
    return *this;
  }

  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0x77656674u;  // "weft"
};

}  // namespace weft

#endif  // WEFT_CORE_FINGERPRINT_H_
