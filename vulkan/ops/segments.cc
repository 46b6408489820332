// SPDX-License-Identifier: Apache-2.0
#include "vulkan/ops/segments.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/dtype.h"

namespace weft::vulkan {

absl::StatusOr<SegmentTable> FillSegments(const KvCacheView& cache,
                                          KvSegmentParams (&segments)[kMaxSegments]) {
  SegmentTable table;
  table.count = cache.segments().size();
  if (table.count > kMaxSegments) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cache: ", table.count, " segments, at most ", kMaxSegments, " on vulkan"));
  }
  const int64_t bound = std::numeric_limits<int32_t>::max();
  if (cache.num_blocks() > bound) {
    return absl::OutOfRangeError(
        absl::StrCat("cache: ", cache.num_blocks(), " blocks, at most ", bound));
  }
  table.blocks_per_segment =
      static_cast<uint32_t>(std::max<int64_t>(1, cache.blocks_per_segment()));
  const KvCacheLayout& layout = cache.layout();
  table.address_bits =
      StrideBits(layout, layout.key_strides()) | StrideBits(layout, layout.value_strides());
  for (size_t i = 0; i < table.count; ++i) {
    segments[i].key = cache.segments()[i].key_base;
    segments[i].value = cache.segments()[i].value_base;
    table.address_bits |= segments[i].key | segments[i].value;
  }
  return table;
}

int64_t RunOf(const KvCacheLayout& layout, const KvStrides& strides) {
  return strides.inner == 0 ? layout.head_size() : strides.inner;
}

uint64_t StrideBits(const KvCacheLayout& layout, const KvStrides& strides) {
  int64_t elements = strides.block | strides.token | strides.head | RunOf(layout, strides);
  if (strides.inner > 0) elements |= strides.split;
  return static_cast<uint64_t>(elements * SizeOf(layout.dtype()));
}

}  // namespace weft::vulkan
