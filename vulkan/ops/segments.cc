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
  table.address_bits = StrideBits(cache.layout());
  for (size_t i = 0; i < table.count; ++i) {
    segments[i].key = cache.segments()[i].key_base;
    segments[i].value = cache.segments()[i].value_base;
    table.address_bits |= segments[i].key | segments[i].value;
  }
  return table;
}

uint64_t StrideBits(const KvCacheLayout& layout) {
  const KvStrides& key = layout.key_strides();
  const KvStrides& value = layout.value_strides();
  const int64_t elements = key.block | key.token | key.head | value.block | value.token |
                           value.head | layout.head_size();
  return static_cast<uint64_t>(elements * SizeOf(layout.dtype()));
}

}  // namespace weft::vulkan
