// SPDX-License-Identifier: Apache-2.0
#include "vulkan/ops/grid.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft::vulkan {

absl::StatusOr<std::array<uint32_t, 3>> FoldGrid(const DeviceLimits& limits, int64_t count,
                                                 std::string_view operation) {
  const int64_t max_x = limits.max_group_count[0];
  const int64_t max_y = limits.max_group_count[1];
  // Half of 32 bits leaves room for the workgroups past the end.
  const int64_t bound = std::min<int64_t>(std::numeric_limits<int32_t>::max(), max_x * max_y);
  if (count < 1 || count > bound) {
    return absl::OutOfRangeError(
        absl::StrCat(operation, ": ", count, " workgroups, must be in [1, ", bound, "]"));
  }
  const int64_t y = (count + max_x - 1) / max_x;
  const int64_t x = (count + y - 1) / y;
  return std::array<uint32_t, 3>{static_cast<uint32_t>(x), static_cast<uint32_t>(y), 1};
}

namespace {

MemoryRange RangeOf(const TensorView& view) {
  return {view.address(), view.address() + static_cast<uint64_t>(view.span_bytes())};
}

}  // namespace

Access Reads(const TensorView& view) { return {RangeOf(view), /*write=*/false}; }
Access Writes(const TensorView& view) { return {RangeOf(view), /*write=*/true}; }

absl::Status AppendCache(const KvCacheView& cache, bool write, std::vector<Access>& accesses) {
  for (const KvSegment& segment : cache.segments()) {
    ASSIGN_OR_RETURN(const int64_t key_bytes, cache.layout().KeySpanBytes(segment.num_blocks));
    ASSIGN_OR_RETURN(const int64_t value_bytes, cache.layout().ValueSpanBytes(segment.num_blocks));
    accesses.push_back({{segment.key_base, segment.key_base + key_bytes}, write});
    accesses.push_back({{segment.value_base, segment.value_base + value_bytes}, write});
  }
  return absl::OkStatus();
}

}  // namespace weft::vulkan
