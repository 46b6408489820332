// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/reshape_and_cache/arguments.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/divisor.h"
#include "core/dtype.h"
#include "core/kv_cache.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/row_groups.h"

namespace weft::cuda {
namespace {

ReshapeSource MapSource(const TensorView& rows, int64_t num_tokens) {
  const int64_t element = SizeOf(rows.dtype());
  return {rows.address(), StrideBytes(num_tokens, rows.stride(0), element),
          StrideBytes(rows.extent(1), rows.stride(1), element)};
}

// Without what is counted in units.
ReshapeCacheStrides MapStrides(const KvCacheView& cache, const KvStrides& strides) {
  const KvCacheLayout& layout = cache.layout();
  const int64_t element = SizeOf(layout.dtype());
  ReshapeCacheStrides mapped = {};
  mapped.block = StrideBytes(cache.blocks_per_segment(), strides.block, element);
  mapped.token = StrideBytes(layout.block_size(), strides.token, element);
  mapped.head = StrideBytes(layout.num_kv_heads(), strides.head, element);
  if (strides.inner > 0) {
    mapped.run = StrideBytes(layout.head_size() / strides.inner, strides.split, element);
  }
  return mapped;
}

// Adjacent dimensions.
int64_t RunOf(const KvCacheLayout& layout, const KvStrides& strides) {
  return strides.inner > 0 && strides.inner < layout.head_size() ? strides.inner
                                                                 : layout.head_size();
}

uint64_t AlignmentBits(const ReshapeSource& source) {
  return source.base | source.token_stride | source.head_stride;
}

uint64_t AlignmentBits(const ReshapeCacheStrides& strides) {
  return strides.block | strides.token | strides.head | strides.run;
}

// Of all addresses and distances in the cache, in bytes: the lowest bit set in any of them is the
// lowest bit set in all.
uint64_t CacheBits(const KvCacheView& cache, const ReshapeAndCacheParams& p) {
  const KvCacheLayout& layout = cache.layout();
  const int64_t runs = layout.head_size() | RunOf(layout, layout.key_strides()) |
                       RunOf(layout, layout.value_strides());
  uint64_t bits = AlignmentBits(p.key_cache) | AlignmentBits(p.value_cache) |
                  static_cast<uint64_t>(runs * SizeOf(layout.dtype()));
  for (const KvSegment& segment : cache.segments()) bits |= segment.key_base | segment.value_base;
  return bits;
}

void SetRun(ReshapeCacheStrides& strides, int64_t units) {
  strides.run_units = static_cast<uint32_t>(units);
  strides.by_run_units = MakeDivisor(strides.run_units);
}

// With units of `elements` elements each.
absl::Status SetUnits(const KvCacheLayout& layout, int64_t elements, ReshapeAndCacheParams& p) {
  const int64_t units_per_head = layout.head_size() / elements;
  const auto row_units = CheckedMul(units_per_head, layout.num_kv_heads());
  if (!row_units.has_value() || *row_units > std::numeric_limits<int32_t>::max()) {
    return absl::OutOfRangeError(absl::StrCat(
        "reshape_and_cache: a row of ", layout.num_kv_heads(), " heads x ", layout.head_size(),
        " elements is longer than 2^31 - 1 units of ", elements, " elements"));
  }
  p.units_per_head = static_cast<uint32_t>(units_per_head);
  p.row_units = static_cast<uint32_t>(*row_units);
  p.by_units_per_head = MakeDivisor(p.units_per_head);
  SetRun(p.key_cache, RunOf(layout, layout.key_strides()) / elements);
  SetRun(p.value_cache, RunOf(layout, layout.value_strides()) / elements);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ReshapeAndCacheLaunches> MapReshapeAndCache(const ReshapeAndCacheArgs& args) {
  const KvCacheLayout& layout = args.cache.layout();
  ReshapeAndCacheParams p = {};
  p.num_tokens = args.slots.extent(0);
  p.slots = args.slots.address();
  p.key = MapSource(args.key, p.num_tokens);
  p.value = MapSource(args.value, p.num_tokens);
  p.key_cache = MapStrides(args.cache, layout.key_strides());
  p.value_cache = MapStrides(args.cache, layout.value_strides());
  p.block_size = layout.block_size();
  p.blocks_per_segment = args.cache.blocks_per_segment();

  ReshapeAndCacheLaunches launches;
  const uint64_t source_bits = AlignmentBits(p.key) | AlignmentBits(p.value);
  const uint64_t cache_bits = CacheBits(args.cache, p);
  launches.quantize = args.key.dtype() != layout.dtype();
  if (launches.quantize) {
    p.k_scales = args.k_scales.address();
    p.v_scales = args.v_scales.address();
    p.source_type = ToElementType(args.key.dtype());
    p.cache_type = ToElementType(layout.dtype());
    const int64_t count = 16 / SizeOf(args.key.dtype());  // and as many bytes of the cache
    launches.whole = source_bits % 16 == 0 && cache_bits % count == 0;
    RETURN_IF_ERROR(SetUnits(layout, launches.whole ? count : 1, p));
  } else {
    for (int bytes : kReshapeUnitBytes) {
      launches.unit_bytes = bytes;
      if ((source_bits | cache_bits) % bytes == 0) break;
    }
    RETURN_IF_ERROR(SetUnits(layout, launches.unit_bytes / SizeOf(layout.dtype()), p));
  }

  const auto segments = args.cache.segments();
  for (size_t begin = 0; begin < segments.size(); begin += kReshapeMaxSegments) {
    const size_t end = std::min(begin + kReshapeMaxSegments, segments.size());
    p.first_block = static_cast<int64_t>(begin) * p.blocks_per_segment;
    p.num_blocks = 0;
    for (size_t s = begin; s < end; ++s) {
      p.segments[s - begin] = {segments[s].key_base, segments[s].value_base};
      p.num_blocks += segments[s].num_blocks;
    }
    if (p.num_blocks > 0) launches.params.push_back(p);
  }
  return launches;
}

}  // namespace weft::cuda
