// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/hazard_tracker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::vulkan {

void RangeSet::Add(MemoryRange range) {
  if (range.begin >= range.end) return;
  auto it = ranges_.upper_bound(range.begin);
  if (it != ranges_.begin() && std::prev(it)->second >= range.begin) --it;
  while (it != ranges_.end() && it->first <= range.end) {
    range.begin = std::min(range.begin, it->first);
    range.end = std::max(range.end, it->second);
    it = ranges_.erase(it);
  }
  ranges_.emplace(range.begin, range.end);
}

bool RangeSet::Overlaps(MemoryRange range) const {
  if (range.begin >= range.end) return false;
  auto it = ranges_.lower_bound(range.end);  // the first that starts behind
  return it != ranges_.begin() && std::prev(it)->second > range.begin;
}

bool HazardTracker::NeedsBarrier(absl::Span<const Access> accesses) const {
  return std::any_of(accesses.begin(), accesses.end(), [this](const Access& access) {
    return written_.Overlaps(access.range) || (access.write && read_.Overlaps(access.range));
  });
}

void HazardTracker::Record(absl::Span<const Access> accesses) {
  for (const Access& access : accesses) (access.write ? written_ : read_).Add(access.range);
}

void HazardTracker::Barrier() {
  read_.Clear();
  written_.Clear();
}

void HazardChecker::Operation(std::string name, absl::Span<const Access> accesses) {
  Entry entry;
  entry.name = std::move(name);
  entry.accesses.assign(accesses.begin(), accesses.end());
  log_.push_back(std::move(entry));
}

void HazardChecker::Barrier() {
  Entry entry;
  entry.barrier = true;
  log_.push_back(std::move(entry));
}

int64_t HazardChecker::num_operations() const {
  return static_cast<int64_t>(log_.size()) - num_barriers();
}

int64_t HazardChecker::num_barriers() const {
  return std::count_if(log_.begin(), log_.end(), [](const Entry& entry) { return entry.barrier; });
}

absl::Status HazardChecker::Check() const {
  // Every pair of operations with no barrier between them, access by access: quadratic and plain,
  // so that a mistake in the tracker's intervals is not repeated here.
  size_t first = 0;  // the first operation since the last barrier
  for (size_t i = 0; i < log_.size(); ++i) {
    if (log_[i].barrier) first = i + 1;
    for (size_t j = first; j < i; ++j) {
      for (const Access& before : log_[j].accesses) {
        for (const Access& after : log_[i].accesses) {
          const uint64_t begin = std::max(before.range.begin, after.range.begin);
          const uint64_t end = std::min(before.range.end, after.range.end);
          if (begin >= end || (!before.write && !after.write)) continue;
          const char* kind = !after.write    ? "read after write"
                             : !before.write ? "write after read"
                                             : "write after write";
          return absl::FailedPreconditionError(
              absl::StrCat("no barrier between entry ", j, " (", log_[j].name, ") and entry ", i,
                           " (", log_[i].name, "): ", kind, " of addresses [0x", absl::Hex(begin),
                           ", 0x", absl::Hex(end), ")"));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace weft::vulkan
