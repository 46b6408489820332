// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/reshape_and_cache/arguments.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/dtype.h"
#include "core/kv_cache.h"
#include "core/tensor_view.h"

namespace weft::cuda {
namespace {

// In bytes. The stride of an axis of one element is never used, so it may be any number: it must
// neither overflow here nor spoil the alignment.
int64_t StrideBytes(int64_t extent, int64_t stride, int64_t element_bytes) {
  return extent > 1 ? stride * element_bytes : 0;
}

ReshapeSource MapSource(const TensorView& rows, int64_t num_tokens) {
  const int64_t element = SizeOf(rows.dtype());
  return {rows.address(), StrideBytes(num_tokens, rows.stride(0), element),
          StrideBytes(rows.extent(1), rows.stride(1), element)};
}

ReshapeCacheStrides MapStrides(const KvCacheView& cache, const KvStrides& strides) {
  const KvCacheLayout& layout = cache.layout();
  const int64_t element = SizeOf(layout.dtype());
  return {StrideBytes(cache.blocks_per_segment(), strides.block, element),
          StrideBytes(layout.block_size(), strides.token, element),
          StrideBytes(layout.num_kv_heads(), strides.head, element)};
}

uint64_t AlignmentBits(const ReshapeSource& source) {
  return source.base | source.token_stride | source.head_stride;
}

uint64_t AlignmentBits(const ReshapeCacheStrides& strides) {
  return strides.block | strides.token | strides.head;
}

// The widest unit that divides `bits`, which holds every address, stride and length at once: the
// lowest bit set in any of them is the lowest bit set in all.
int WidestUnit(uint64_t bits) {
  for (int bytes : kReshapeUnitBytes) {
    if (bits % bytes == 0) return bytes;
  }
  return 0;
}

}  // namespace

absl::StatusOr<ReshapeAndCacheLaunches> MapReshapeAndCache(const ReshapeAndCacheArgs& args) {
  const KvCacheLayout& layout = args.cache.layout();
  if (IsFp8(layout.dtype())) {
    return absl::UnimplementedError("reshape_and_cache: an fp8 cache: not built yet on cuda");
  }
  if (layout.key_strides().inner > 0 || layout.value_strides().inner > 0) {
    return absl::UnimplementedError(
        "reshape_and_cache: head dimensions in runs: not built yet on cuda");
  }
  ReshapeAndCacheParams p = {};
  p.num_tokens = args.slots.extent(0);
  p.slots = args.slots.address();
  p.key = MapSource(args.key, p.num_tokens);
  p.value = MapSource(args.value, p.num_tokens);
  p.key_cache = MapStrides(args.cache, layout.key_strides());
  p.value_cache = MapStrides(args.cache, layout.value_strides());
  p.block_size = layout.block_size();
  p.blocks_per_segment = args.cache.blocks_per_segment();

  const int64_t head_bytes = layout.head_size() * SizeOf(layout.dtype());
  uint64_t bits = AlignmentBits(p.key) | AlignmentBits(p.value) | AlignmentBits(p.key_cache) |
                  AlignmentBits(p.value_cache) | head_bytes;
  for (const KvSegment& segment : args.cache.segments()) {
    bits |= segment.key_base | segment.value_base;
  }

  ReshapeAndCacheLaunches launches;
  launches.unit_bytes = WidestUnit(bits);
  if (launches.unit_bytes == 0) {
    return absl::UnimplementedError(
        absl::StrCat("reshape_and_cache: elements of one byte are not built yet on cuda (",
                     layout.ToString(), ")"));
  }
  const int64_t units_per_head = head_bytes / launches.unit_bytes;
  const auto row_units = CheckedMul(units_per_head, layout.num_kv_heads());
  if (!row_units.has_value() || *row_units > std::numeric_limits<int32_t>::max()) {
    return absl::UnimplementedError(
        absl::StrCat("reshape_and_cache: a row of ", layout.num_kv_heads(), " heads x ", head_bytes,
                     " bytes is longer than 2^31 - 1 units of ", launches.unit_bytes, " bytes"));
  }
  p.units_per_head = static_cast<int32_t>(units_per_head);
  p.row_units = static_cast<int32_t>(*row_units);

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
