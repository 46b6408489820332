// SPDX-License-Identifier: Apache-2.0
//
// Grids and memory ranges of a dispatch.
#ifndef WEFT_VULKAN_OPS_GRID_H_
#define WEFT_VULKAN_OPS_GRID_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/kv_cache.h"
#include "core/tensor_view.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/hazard_tracker.h"

namespace weft::vulkan {

// A line of `count` >= 1 workgroups, folded into x and y as WorkgroupIndex() of common.glsl unfolds
// it; a few workgroups past the end may come of it. OUT_OF_RANGE names `operation`, count and
// bound: the device's, or the 32 bits that kernels count in.
absl::StatusOr<std::array<uint32_t, 3>> FoldGrid(const DeviceLimits& limits, int64_t count,
                                                 std::string_view operation);

Access Reads(const TensorView& view);
Access Writes(const TensorView& view);
// All that the cache's segments span.
absl::Status AppendCache(const KvCacheView& cache, bool write, std::vector<Access>& accesses);

constexpr bool IsAligned(uint64_t value, uint64_t alignment) { return value % alignment == 0; }

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_GRID_H_
