// SPDX-License-Identifier: Apache-2.0
//
// HazardTracker: which device memory was read and written since the last barrier, and so whether
// the next operation needs one. HazardChecker: says afterwards whether the barriers were right; it
// shares no code with the tracker, and stands in for the validation layer, which does not see
// addresses (vulkan.md, 4.3).
#ifndef WEFT_VULKAN_RUNTIME_HAZARD_TRACKER_H_
#define WEFT_VULKAN_RUNTIME_HAZARD_TRACKER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace weft::vulkan {

// Device addresses [begin, end); empty if begin >= end.
struct MemoryRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct Access {
  MemoryRange range;
  bool write = false;
};

// Disjoint ranges, merged where they touch.
class RangeSet {
 public:
  void Add(MemoryRange range);
  bool Overlaps(MemoryRange range) const;
  void Clear() { ranges_.clear(); }
  int64_t size() const { return static_cast<int64_t>(ranges_.size()); }

 private:
  std::map<uint64_t, uint64_t> ranges_;  // begin -> end
};

class HazardTracker {
 public:
  // True if one of `accesses` reads what was written, writes what was read, or writes what was
  // written since the last barrier. Those within one operation are that operation's own matter.
  bool NeedsBarrier(absl::Span<const Access> accesses) const;
  // The operation has been recorded.
  void Record(absl::Span<const Access> accesses);
  // A full barrier has been recorded.
  void Barrier();

 private:
  RangeSet read_;
  RangeSet written_;
};

// Keeps a log of operations and barriers. Slow: for tests, and for queues that ask for it.
class HazardChecker {
 public:
  void Operation(std::string name, absl::Span<const Access> accesses);
  void Barrier();

  // OK, or FAILED_PRECONDITION naming the first two operations that lack a barrier between them,
  // the kind (read after write, write after read, write after write) and the range they share.
  absl::Status Check() const;
  void Clear() { log_.clear(); }
  int64_t num_operations() const;
  int64_t num_barriers() const;

 private:
  struct Entry {
    bool barrier = false;
    std::string name;
    std::vector<Access> accesses;
  };
  std::vector<Entry> log_;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_HAZARD_TRACKER_H_
