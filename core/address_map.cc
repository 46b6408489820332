// SPDX-License-Identifier: Apache-2.0
#include "core/address_map.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

uint64_t End(const AddressMap::Allocation& allocation) {
  return allocation.base + static_cast<uint64_t>(allocation.bytes);
}

std::string Range(uint64_t begin, uint64_t end) {
  return absl::StrCat("[0x", absl::Hex(begin), ", 0x", absl::Hex(end), ")");
}

}  // namespace

absl::Status AddressMap::Add(const Allocation& allocation) {
  if (allocation.base == 0 || allocation.bytes < 1 || End(allocation) < allocation.base) {
    return absl::InvalidArgumentError(absl::StrCat("allocation at 0x", absl::Hex(allocation.base),
                                                   " of ", allocation.bytes, " bytes"));
  }
  absl::MutexLock lock(&mutex_);
  const auto next = allocations_.lower_bound(allocation.base);
  const bool hits_next = next != allocations_.end() && next->first < End(allocation);
  const bool hits_last =
      next != allocations_.begin() && End(std::prev(next)->second) > allocation.base;
  if (hits_next || hits_last) {
    return absl::InvalidArgumentError(absl::StrCat(
        "allocation ", Range(allocation.base, End(allocation)), " overlaps a live one"));
  }
  allocations_.emplace(allocation.base, allocation);
  return absl::OkStatus();
}

absl::Status AddressMap::Remove(uint64_t base) {
  absl::MutexLock lock(&mutex_);
  if (allocations_.erase(base) == 1) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("no allocation starts at 0x", absl::Hex(base)));
}

std::optional<AddressMap::Allocation> AddressMap::Find(uint64_t address, int64_t bytes) const {
  absl::MutexLock lock(&mutex_);
  auto next = allocations_.upper_bound(address);
  if (next == allocations_.begin() || bytes < 0) return std::nullopt;
  const Allocation& found = std::prev(next)->second;
  if (address >= End(found) || static_cast<uint64_t>(bytes) > End(found) - address)
    return std::nullopt;
  return found;
}

absl::Status AddressMap::AddImported(uint64_t base, int64_t bytes) {
  if (base == 0 || bytes < 1 || base + static_cast<uint64_t>(bytes) < base) {
    return absl::InvalidArgumentError(
        absl::StrCat("imported range at 0x", absl::Hex(base), " of ", bytes, " bytes"));
  }
  absl::MutexLock lock(&mutex_);
  imported_.emplace_back(base, bytes);
  return absl::OkStatus();
}

void AddressMap::RemoveImported(uint64_t base, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = std::find(imported_.begin(), imported_.end(), std::pair(base, bytes));
  if (found != imported_.end()) imported_.erase(found);
}

absl::Status AddressMap::Check(uint64_t address, int64_t bytes) const {
  if (bytes == 0 || Find(address, bytes).has_value()) return absl::OkStatus();
  const uint64_t end = address + static_cast<uint64_t>(bytes);
  absl::MutexLock lock(&mutex_);
  for (const auto& [base, size] : imported_) {
    const uint64_t offset = address - base;
    if (bytes > 0 && address >= base && offset < static_cast<uint64_t>(size) &&
        static_cast<uint64_t>(bytes) <= static_cast<uint64_t>(size) - offset) {
      return absl::OkStatus();
    }
  }
  auto next = allocations_.upper_bound(address);
  const std::string nearest =
      next == allocations_.begin()
          ? std::string("no live allocation starts before it")
          : absl::StrCat("the nearest before it is ",
                         Range(std::prev(next)->first, End(std::prev(next)->second)));
  return absl::OutOfRangeError(
      absl::StrCat("memory ", Range(address, end), " is in no live allocation; ", nearest));
}

int64_t AddressMap::total_bytes() const {
  absl::MutexLock lock(&mutex_);
  int64_t total = 0;
  for (const auto& [base, allocation] : allocations_) total += allocation.bytes;
  return total;
}

}  // namespace weft
