// SPDX-License-Identifier: Apache-2.0
//
// Noise: what the inputs of a bench hold. Element i of an array is element i % period of one array
// of random numbers that stays on the host, so that an oracle knows gigabytes of device memory.
#ifndef WEFT_TOOLS_BENCH_NOISE_H_
#define WEFT_TOOLS_BENCH_NOISE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/queue.h"

namespace weft::bench {

class Noise {
 public:
  // About normally distributed, mean 0 and variance 1, rounded to `dtype` (a float or fp8 type);
  // repeats after `bytes`.
  Noise(DType dtype, int64_t bytes, uint64_t seed);

  DType dtype() const { return dtype_; }
  int64_t period() const { return static_cast<int64_t>(values_.size()); }
  float At(int64_t element) const { return values_[static_cast<size_t>(element % period())]; }
  // Elements first, first + 1, ...: exactly what the device holds.
  void Read(int64_t first, absl::Span<float> values) const;

  // Records work that fills [address, address + bytes): element 0 stands at `address`.
  absl::Status Fill(Queue& queue, uint64_t address, int64_t bytes) const;

 private:
  DType dtype_;
  std::vector<uint8_t> stored_;
  std::vector<float> values_;
};

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_NOISE_H_
