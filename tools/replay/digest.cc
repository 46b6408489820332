// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/digest.h"

#include <cstring>

#include "absl/strings/str_format.h"
#include "tools/replay/random.h"

namespace weft::replay {
namespace {

// FNV-1a over words instead of bytes, with a shift that lets high bits reach low ones.
uint64_t Absorb(uint64_t state, uint64_t word) {
  state = (state ^ word) * 0x100000001b3u;
  return state ^ (state >> 29);
}

}  // namespace

OutputDigest::OutputDigest(int64_t num_requests) : states_(num_requests, 0xcbf29ce484222325u) {}

void OutputDigest::Add(int64_t request, absl::Span<const uint8_t> bytes) {
  uint64_t state = states_[request];
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    state = Absorb(state, word);
  }
  if (at < bytes.size()) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, bytes.size() - at);
    state = Absorb(state, word);
  }
  states_[request] = state;
}

std::string OutputDigest::ToString() const {
  uint64_t all = Mix(states_.size());
  for (const uint64_t state : states_) all = Mix(all, state);
  return absl::StrFormat("%016x", all);
}

}  // namespace weft::replay
