// SPDX-License-Identifier: Apache-2.0
//
// PlacedMemory: where the bytes of a check lie: in an allocation of the backend, or on pages of the
// host next to one that faults when it is touched. The latter only where a device address is a
// host pointer: the reference backend, and software Vulkan devices.
#ifndef WEFT_TESTING_CONFORMANCE_PLACED_MEMORY_H_
#define WEFT_TESTING_CONFORMANCE_PLACED_MEMORY_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/queue.h"

namespace weft::testing {

enum class Place : int {
  kDevice,
  kBeforeGuard,  // the last byte stands before a page that faults
  kBehindGuard,  // the first byte stands behind one
};
const std::vector<std::string_view>& PlaceWords();

// What CheckCaseLine answers for a case that has no meaning on this backend: not a failure, and
// nothing that the backend lacks.
absl::Status DoesNotApply(std::string_view why);
bool IsDoesNotApply(const absl::Status& status);

// Whether the host can touch the device's memory at its address.
bool AddressesAreHostPointers(const Backend& backend);

class PlacedMemory {
 public:
  // Memory with the contents of `bytes`; those in an allocation are there for what is recorded
  // later on the same queue. At least `guard_bytes` on both sides of guarded memory fault.
  // DoesNotApply: guarded memory on a device of its own.
  static absl::StatusOr<std::unique_ptr<PlacedMemory>> Create(Backend& backend, Queue& queue,
                                                              absl::Span<const uint8_t> bytes,
                                                              Place place, int64_t guard_bytes = 1);
  ~PlacedMemory();

  uint64_t address() const { return address_; }

  // Runs all that was recorded and returns the contents.
  absl::StatusOr<std::vector<uint8_t>> Read(Queue& queue) const;

 private:
  PlacedMemory() = default;

  uint64_t address_ = 0;
  int64_t bytes_ = 0;
  std::unique_ptr<Buffer> buffer_;  // the allocation, or the import of the pages
  void* mapping_ = nullptr;
  size_t mapped_bytes_ = 0;
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_PLACED_MEMORY_H_
