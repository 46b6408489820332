// SPDX-License-Identifier: Apache-2.0
//
// FuzzInput: makes values of a fuzzer's bytes. Reads from the front; past the end every byte is 0,
// so that each prefix of an input is an input too.
#ifndef WEFT_TESTING_FUZZ_FUZZ_INPUT_H_
#define WEFT_TESTING_FUZZ_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <limits>

#include "absl/types/span.h"

namespace weft::fuzz {

class FuzzInput {
 public:
  // The bytes must outlive this.
  explicit FuzzInput(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}

  bool AtEnd() const { return bytes_.empty(); }

  uint8_t Byte() {
    if (bytes_.empty()) return 0;
    const uint8_t byte = bytes_.front();
    bytes_.remove_prefix(1);
    return byte;
  }

  // In [0, bound), 1 <= bound <= 256.
  int64_t Below(int64_t bound) { return Byte() % bound; }

  // Any 64-bit number. Half of the first bytes stand for themselves, the others for the values
  // where arithmetic turns, for two bytes more, or for eight.
  int64_t Integer() {
    constexpr int64_t kInt32 = std::numeric_limits<int32_t>::max();
    constexpr int64_t kInt64 = std::numeric_limits<int64_t>::max();
    constexpr int64_t kEdges[] = {-1,         -2,          -kInt32,        -kInt32 - 1,
                                  -kInt64,    -kInt64 - 1, kInt32 - 1,     kInt32,
                                  kInt32 + 1, kInt32 / 2,  kInt32 / 2 + 1, 2 * kInt32 + 1,
                                  kInt64 - 1, kInt64,      kInt64 / 2,     kInt64 / 2 + 1};
    const uint8_t first = Byte();
    if (first < 128) return first;
    if (first < 192) return kEdges[first % 16];
    uint64_t value = 0;
    for (int i = first < 240 ? 2 : 8; i > 0; --i) value = value << 8 | Byte();
    return static_cast<int64_t>(value);
  }

 private:
  absl::Span<const uint8_t> bytes_;
};

}  // namespace weft::fuzz

#endif  // WEFT_TESTING_FUZZ_FUZZ_INPUT_H_
