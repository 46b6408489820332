// SPDX-License-Identifier: Apache-2.0
//
// Small helpers of tests that move bytes to and from a device.
#ifndef WEFT_TESTING_DEVICE_IO_H_
#define WEFT_TESTING_DEVICE_IO_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/queue.h"

namespace weft::testing {

// A NaN with a payload in f32, f16 and bf16 alike, and no valid index in i32 and i64: what memory
// holds that nobody may read, and results that somebody must write.
inline constexpr uint32_t kPoison = 0x7fc17fc1u;

// `bytes` of poison; the last word may be cut.
std::vector<uint8_t> PoisonBytes(int64_t bytes);

// New memory with the contents of `bytes` (at least 4 bytes are allocated). Only recorded: the
// contents are there for what is recorded later on the same queue.
absl::StatusOr<std::unique_ptr<Buffer>> Upload(Backend& backend, Queue& queue,
                                               absl::Span<const uint8_t> bytes);

// New memory full of poison.
absl::StatusOr<std::unique_ptr<Buffer>> AllocatePoisoned(Backend& backend, Queue& queue,
                                                         int64_t bytes);

// Runs all that was recorded, with a generous deadline.
absl::Status Finish(Queue& queue);

// Runs all that was recorded and returns the memory's contents.
absl::StatusOr<std::vector<uint8_t>> Download(Queue& queue, uint64_t address, int64_t bytes);

template <typename T>
absl::Span<const uint8_t> AsBytes(const std::vector<T>& values) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values.data()),
                             values.size() * sizeof(T));
}

}  // namespace weft::testing

#endif  // WEFT_TESTING_DEVICE_IO_H_
