// SPDX-License-Identifier: Apache-2.0
//
// AddressMap: the live allocations of one device. A kernel takes bare addresses, so this is what
// stands between a stale view and a fault; and Vulkan needs the VkBuffer behind an address for
// copies.
#ifndef WEFT_CORE_ADDRESS_MAP_H_
#define WEFT_CORE_ADDRESS_MAP_H_

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace weft {

// Thread-safe.
class AddressMap {
 public:
  struct Allocation {
    uint64_t base = 0;
    int64_t bytes = 0;
    void* owner = nullptr;  // what the backend wants back: a VulkanBuffer, say
  };

  // A range that Check accepts although no allocation holds it all (Backend::ImportRange). May
  // overlap others. INVALID_ARGUMENT: no bytes, or an end past the address space.
  absl::Status AddImported(uint64_t base, int64_t bytes);
  void RemoveImported(uint64_t base, int64_t bytes);

  // INVALID_ARGUMENT: no bytes, or an overlap with a live allocation.
  absl::Status Add(const Allocation& allocation);
  // NOT_FOUND if no allocation starts there.
  absl::Status Remove(uint64_t base);

  // The allocation that holds all of [address, address + bytes), if there is one. bytes >= 0.
  std::optional<Allocation> Find(uint64_t address, int64_t bytes) const;

  // OK for bytes == 0, and inside an imported range; OUT_OF_RANGE, naming the range and the nearest
  // allocation, if Find has nothing.
  absl::Status Check(uint64_t address, int64_t bytes) const;

  int64_t total_bytes() const;

 private:
  mutable absl::Mutex mutex_;
  std::map<uint64_t, Allocation> allocations_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<uint64_t, int64_t>> imported_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace weft

#endif  // WEFT_CORE_ADDRESS_MAP_H_
