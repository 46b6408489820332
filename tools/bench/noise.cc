// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/noise.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "tools/replay/random.h"

namespace weft::bench {
namespace {

// Four uniform numbers of 16 bits, summed: near enough to a normal one.
float Draw(replay::Random& random) {
  const uint64_t bits = random.Next();
  uint64_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += (bits >> (16 * i)) & 0xffff;
  return static_cast<float>((static_cast<double>(sum) / 65535.0 - 2.0) * std::sqrt(3.0));
}

}  // namespace

Noise::Noise(DType dtype, int64_t bytes, uint64_t seed)
    : dtype_(dtype),
      stored_(static_cast<size_t>(bytes)),
      values_(static_cast<size_t>(bytes / SizeOf(dtype))) {
  replay::Random random(seed);
  for (int64_t i = 0; i < period(); ++i) {
    StoreFloat(dtype, stored_.data(), i, Draw(random));
    values_[static_cast<size_t>(i)] = LoadFloat(dtype, stored_.data(), i);
  }
}

void Noise::Read(int64_t first, absl::Span<float> values) const {
  while (!values.empty()) {
    const int64_t from = first % period();
    const auto count =
        static_cast<size_t>(std::min(period() - from, static_cast<int64_t>(values.size())));
    std::copy_n(values_.begin() + from, count, values.begin());
    values.remove_prefix(count);
    first = 0;
  }
}

absl::Status Noise::Fill(Queue& queue, uint64_t address, int64_t bytes) const {
  int64_t filled = std::min(bytes, static_cast<int64_t>(stored_.size()));
  RETURN_IF_ERROR(
      queue.CopyFromHost(address, absl::MakeConstSpan(stored_).first(static_cast<size_t>(filled))));
  // The filled part is whole periods, so what follows it is its own beginning.
  while (filled < bytes) {
    const int64_t more = std::min(filled, bytes - filled);
    RETURN_IF_ERROR(queue.Copy(address + static_cast<uint64_t>(filled), address, more));
    filled += more;
  }
  return absl::OkStatus();
}

}  // namespace weft::bench
