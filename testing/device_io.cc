// SPDX-License-Identifier: Apache-2.0
#include "testing/device_io.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/status_macros.h"

namespace weft::testing {
namespace {

constexpr int64_t kMinBytes = 4;

}  // namespace

std::vector<uint8_t> PoisonBytes(int64_t bytes) {
  std::vector<uint8_t> poison(static_cast<size_t>(bytes));
  for (size_t i = 0; i < poison.size(); ++i) {
    poison[i] = static_cast<uint8_t>(kPoison >> (8 * (i % 4)));
  }
  return poison;
}

absl::StatusOr<std::unique_ptr<Buffer>> Upload(Backend& backend, Queue& queue,
                                               absl::Span<const uint8_t> bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                   backend.Allocate(std::max(kMinBytes, static_cast<int64_t>(bytes.size()))));
  RETURN_IF_ERROR(queue.CopyFromHost(buffer->address(), bytes));
  return buffer;
}

absl::StatusOr<std::unique_ptr<Buffer>> AllocatePoisoned(Backend& backend, Queue& queue,
                                                         int64_t bytes) {
  return Upload(backend, queue, PoisonBytes(bytes));
}

absl::Status Finish(Queue& queue) {
  RETURN_IF_ERROR(queue.Submit());
  return queue.Wait(absl::Now() + absl::Minutes(5));
}

absl::StatusOr<std::vector<uint8_t>> Download(Queue& queue, uint64_t address, int64_t bytes) {
  std::vector<uint8_t> result(static_cast<size_t>(bytes));
  RETURN_IF_ERROR(queue.CopyToHost(absl::MakeSpan(result), address));
  RETURN_IF_ERROR(Finish(queue));
  return result;
}

}  // namespace weft::testing
