// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/arguments.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/dtype.h"
#include "core/head_values.h"
#include "core/status_macros.h"
#include "core/tensor_view.h"
#include "cuda/kernels/attention/config.h"

namespace weft::cuda {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr uint64_t kPiece = 16;

// In bytes. The stride of an axis of one element is never used, so it may be any number: it must
// neither overflow here nor spoil the alignment.
int64_t StrideBytes(int64_t extent, int64_t stride, int64_t element_bytes) {
  return extent > 1 ? stride * element_bytes : 0;
}

RowTensor MapRows(const TensorView& view) {
  if (!view.given()) return {};
  const int64_t element = SizeOf(view.dtype());
  return {view.address(), StrideBytes(view.extent(0), view.stride(0), element),
          StrideBytes(view.extent(1), view.stride(1), element)};
}

uint64_t AlignmentBits(const RowTensor& rows) {
  return rows.address | static_cast<uint64_t>(rows.row_stride | rows.head_stride);
}

// Whether every row lies in whole pieces, at multiples of their size.
uint32_t InPieces(const RowTensor& rows, int64_t head_size, DType dtype) {
  const auto row_bytes = static_cast<uint64_t>(head_size * SizeOf(dtype));
  return (AlignmentBits(rows) | row_bytes) % kPiece == 0 ? 1 : 0;
}

CacheSide MapSide(const KvCacheView& cache, const KvStrides& strides, uint64_t base_bits) {
  const KvCacheLayout& layout = cache.layout();
  const int64_t element = SizeOf(layout.dtype());
  CacheSide side = {};
  side.block_stride = StrideBytes(cache.blocks_per_segment(), strides.block, element);
  side.token_stride = StrideBytes(layout.block_size(), strides.token, element);
  side.head_stride = StrideBytes(layout.num_kv_heads(), strides.head, element);
  uint64_t bits =
      base_bits | static_cast<uint64_t>(side.block_stride | side.token_stride | side.head_stride);
  side.run = static_cast<uint32_t>(layout.head_size());
  if (strides.inner > 0 && strides.inner < layout.head_size()) {
    side.run = static_cast<uint32_t>(strides.inner);
    side.run_stride = strides.split * element;
    bits |= static_cast<uint64_t>(side.run_stride | (strides.inner * element));
  }
  side.in_pieces = bits % kPiece == 0 ? 1 : 0;
  return side;
}

absl::Status MapCache(const KvCacheView& cache, AttentionParams& p) {
  const auto segments = cache.segments();
  if (segments.size() > kMaxAttentionSegments) {
    return absl::ResourceExhaustedError(absl::StrCat("attention: the cache has ", segments.size(),
                                                     " segments, at most ", kMaxAttentionSegments,
                                                     " on cuda"));
  }
  if (cache.num_blocks() > kMaxInt32) {
    return absl::OutOfRangeError(absl::StrCat("attention: the cache has ", cache.num_blocks(),
                                              " blocks, at most ", kMaxInt32, " on cuda"));
  }
  uint64_t key_bits = 0;
  uint64_t value_bits = 0;
  for (size_t s = 0; s < segments.size(); ++s) {
    p.segments[s] = {segments[s].key_base, segments[s].value_base};
    key_bits |= segments[s].key_base;
    value_bits |= segments[s].value_base;
  }
  const KvCacheLayout& layout = cache.layout();
  p.key = MapSide(cache, layout.key_strides(), key_bits);
  p.value = MapSide(cache, layout.value_strides(), value_bits);
  p.num_segments = static_cast<uint32_t>(segments.size());
  p.block_size = static_cast<uint32_t>(layout.block_size());
  p.by_block_size = MakeDivisor(p.block_size);
  p.blocks_per_segment = static_cast<uint32_t>(std::max<int64_t>(1, cache.blocks_per_segment()));
  p.by_blocks_per_segment = MakeDivisor(p.blocks_per_segment);
  p.kv_type = ToElementType(layout.dtype());
  return absl::OkStatus();
}

void MapSpec(const AttentionSpec& spec, AttentionParams& p) {
  p.num_heads = static_cast<uint32_t>(spec.num_heads);
  p.num_kv_heads = static_cast<uint32_t>(spec.num_kv_heads);
  p.group_size = static_cast<uint32_t>(spec.group_size());
  p.by_group_size = MakeDivisor(p.group_size);
  p.head_size = static_cast<uint32_t>(spec.head_size);
  p.window = static_cast<int32_t>(spec.window > 0 ? std::min(spec.window, kMaxInt32) : kMaxInt32);
  p.scale = spec.effective_scale();
  p.softcap = spec.softcap;
  p.inverse_softcap = spec.softcap != 0.0f ? 1.0f / spec.softcap : 0.0f;
  p.inverse_out_scale = 1.0f / spec.out_scale;
}

void MapTables(const AttentionArgs& args, AttentionParams& p) {
  const AttentionTables& tables = args.tables;
  p.tiles = tables.tiles.address();
  p.decode_rows = tables.decode_rows.address();
  p.decode_splits = tables.decode_splits.address();
  p.blocks = tables.blocks.address();
  if (tables.num_partials == 0) return;
  const AttentionSpec& spec = args.prepared->spec();
  p.partial_sums = tables.workspace.address();
  p.partial_stats = p.partial_sums + static_cast<uint64_t>(tables.num_partials) * spec.num_heads *
                                         spec.head_size * sizeof(float);
}

// Blocks of threads for `work` items, at most: each is shared by the kv heads, and by chunks of its
// query rows, of which a decode's are the smallest.
absl::Status CheckGrid(std::string_view name, int64_t work, int64_t heads, int64_t rows) {
  const auto blocks = CheckedMul(work, heads);
  const auto all =
      blocks ? CheckedMul(*blocks, CeilDiv(rows, DecodeShape<64, 2>::kRows)) : std::nullopt;
  if (all && *all <= kMaxInt32) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("attention: ", work, " ", name, " of ", heads,
                                            " heads take more than ", kMaxInt32,
                                            " blocks of threads on cuda"));
}

}  // namespace

absl::Status SupportsAttention(const AttentionSpec& spec, const KvCacheLayout& layout) {
  RETURN_IF_ERROR(ValidateForLayout(spec, layout));
  if (spec.kv_dtype != spec.dtype && !IsFp8(spec.kv_dtype)) {
    return absl::UnimplementedError(absl::StrCat("kv_dtype ", Name(spec.kv_dtype), " with dtype ",
                                                 Name(spec.dtype), ": not built yet on cuda"));
  }
  if (spec.head_size < kMinHeadSize || spec.head_size > kMaxHeadSize) {
    return absl::UnimplementedError(absl::StrCat("head_size ", spec.head_size, ": must be in [",
                                                 kMinHeadSize, ", ", kMaxHeadSize, "] on cuda"));
  }
  for (const auto& [name, value] :
       {std::pair("num_heads", spec.num_heads), std::pair("block_size", layout.block_size())}) {
    if (value > kMaxInt32) {
      return absl::UnimplementedError(absl::StrCat(name, " ", value, ": must fit 31 bits on cuda"));
    }
  }
  return absl::OkStatus();
}

int64_t TileTokens(int64_t group_size, int rows) { return std::max<int64_t>(1, rows / group_size); }

absl::StatusOr<AttentionWork> MapAttention(const AttentionArgs& args) {
  const AttentionSpec& spec = args.prepared->spec();
  const AttentionTables& tables = args.tables;
  AttentionWork work = {};
  AttentionParams& p = work.params;
  p.query = MapRows(args.query);
  p.out = MapRows(args.out);
  p.lse = MapRows(args.lse);
  p.query_type = ToElementType(args.query.dtype());
  p.out_type = ToElementType(args.out.dtype());
  p.query_in_pieces = InPieces(p.query, spec.head_size, args.query.dtype());
  p.out_in_pieces = InPieces(p.out, spec.head_size, args.out.dtype());
  p.out_in_words = AlignmentBits(p.out) % sizeof(uint32_t) == 0 ? 1 : 0;
  RETURN_IF_ERROR(MapCache(args.cache, p));
  MapSpec(spec, p);
  MapTables(args, p);
  const HeadValues& values = args.head_values;
  p.alibi_slopes = values.alibi_slopes.address();
  p.sinks = args.apply_sinks ? values.sinks.address() : 0;
  p.k_scales = values.k_scales.address();
  p.v_scales = values.v_scales.address();

  work.tiles = tables.tiles.given() ? tables.tiles.extent(0) : 0;
  work.splits = tables.decode_splits.given() ? tables.decode_splits.extent(0) : 0;
  work.padded = tables.padded;
  work.decode_rows = tables.decode_rows.given() ? tables.decode_rows.extent(0) : 0;
  work.tile_rows = args.prepared->plan_config().tile_tokens * spec.group_size();
  RETURN_IF_ERROR(CheckGrid("tiles", work.tiles, spec.num_kv_heads, work.tile_rows));
  RETURN_IF_ERROR(CheckGrid("granules", work.splits, spec.num_kv_heads, spec.group_size()));
  RETURN_IF_ERROR(CheckGrid("decode rows", work.decode_rows, spec.num_heads, 1));
  return work;
}

}  // namespace weft::cuda
