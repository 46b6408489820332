// SPDX-License-Identifier: Apache-2.0
//
// A cache's segments in a parameter block.
#ifndef WEFT_VULKAN_OPS_SEGMENTS_H_
#define WEFT_VULKAN_OPS_SEGMENTS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/kv_cache.h"
#include "vulkan/ops/params.h"

namespace weft::vulkan {

struct SegmentTable {
  size_t count = 0;
  uint32_t blocks_per_segment = 1;
  // An `or` of all bases and of the layout's strides, in bytes: tells what they are multiples of.
  uint64_t address_bits = 0;
};

// RESOURCE_EXHAUSTED: more than kMaxSegments. OUT_OF_RANGE: more blocks than 31 bits count.
absl::StatusOr<SegmentTable> FillSegments(const KvCacheView& cache,
                                          KvSegmentParams (&segments)[kMaxSegments]);

// An `or` of the strides of keys or values, and of a run of adjacent dimensions, in bytes: both are
// the layout's share of SegmentTable::address_bits.
uint64_t StrideBits(const KvCacheLayout& layout, const KvStrides& strides);
// Adjacent dimensions of a head: all, or KvStrides::inner.
int64_t RunOf(const KvCacheLayout& layout, const KvStrides& strides);

// The bytes of `params` up to the last segment in use. `fixed` is the offset of its segments.
template <typename Params>
absl::Span<const uint8_t> ParamBytes(const Params& params, size_t fixed,
                                     const SegmentTable& segments) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(&params),
                             fixed + segments.count * sizeof(KvSegmentParams));
}

// Of a block without segments.
template <typename Params>
absl::Span<const uint8_t> ParamBytes(const Params& params) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(&params), sizeof(params));
}

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_SEGMENTS_H_
