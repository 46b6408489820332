// SPDX-License-Identifier: Apache-2.0
//
// From floats to fp8: QuantizeFp8, and ReshapeAndCache into an fp8 cache.
#include "vulkan/ops/quantize_ops.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "vulkan/ops/grid.h"
#include "vulkan/ops/params.h"
#include "vulkan/ops/segments.h"
#include "vulkan/ops/shader_dtype.h"

namespace weft::vulkan {
namespace {

constexpr int64_t kQuad = 4;  // elements that a lane takes at a time

// Quads of a head; a row's must fit 31 bits.
absl::StatusOr<uint32_t> QuadsPerHead(std::string_view operation, int64_t heads,
                                      int64_t head_size) {
  const int64_t quads = (head_size + kQuad - 1) / kQuad;
  const int64_t bound = std::numeric_limits<int32_t>::max() / kQuad;
  if (heads > bound || quads > bound / heads) {
    return absl::OutOfRangeError(absl::StrCat(operation, ": ", heads, " heads of ", head_size,
                                              " elements, more than 31 bits count"));
  }
  return static_cast<uint32_t>(quads);
}

QuantizedRowParams RowParams(const TensorView& rows, const TensorView& scales) {
  const uint64_t element = SizeOf(rows.dtype());
  QuantizedRowParams params;
  params.address = rows.address();
  params.row = rows.stride(0) * element;
  params.head = rows.stride(1) * element;
  params.scales = scales.address();
  return params;
}

// fp8: a stride in elements is one in bytes. `base_bits`: an `or` of the segments' bases.
QuantizedCacheParams CacheParams(const KvCacheLayout& layout, const KvStrides& strides,
                                 uint64_t base_bits) {
  QuantizedCacheParams params;
  params.block = strides.block;
  params.token = strides.token;
  params.head = strides.head;
  if (strides.inner > 0) params.run = strides.split;
  params.run_dims = static_cast<uint32_t>(RunOf(layout, strides));
  params.by_run_dims = MakeDivisor(params.run_dims);
  params.whole = IsAligned(base_bits | StrideBits(layout, strides), kQuad) ? 1 : 0;
  return params;
}

}  // namespace

absl::Status RecordQuantizeToCache(Recorder& recorder, const OperationKernels& kernels,
                                   const ReshapeAndCacheArgs& args) {
  const KvCacheLayout& layout = args.cache.layout();
  QuantizeToCacheParams params;
  ASSIGN_OR_RETURN(const SegmentTable segments, FillSegments(args.cache, params.segments));
  uint64_t key_bits = 0, value_bits = 0;
  for (const KvSegment& segment : args.cache.segments()) {
    key_bits |= segment.key_base;
    value_bits |= segment.value_base;
  }
  params.key = RowParams(args.key, args.k_scales);
  params.value = RowParams(args.value, args.v_scales);
  params.key_cache = CacheParams(layout, layout.key_strides(), key_bits);
  params.value_cache = CacheParams(layout, layout.value_strides(), value_bits);
  params.slots = args.slots.address();
  params.num_slots = args.cache.num_slots();
  params.block_size = layout.block_size();
  params.num_tokens = static_cast<uint32_t>(args.slots.extent(0));
  params.num_kv_heads = static_cast<uint32_t>(layout.num_kv_heads());
  params.head_size = static_cast<uint32_t>(layout.head_size());
  ASSIGN_OR_RETURN(params.quads_per_head,
                   QuadsPerHead("reshape_and_cache", layout.num_kv_heads(), layout.head_size()));
  params.by_quads_per_head = MakeDivisor(params.quads_per_head);
  params.blocks_per_segment = segments.blocks_per_segment;
  params.by_blocks_per_segment = MakeDivisor(segments.blocks_per_segment);
  params.source_dtype = ShaderDType(args.key.dtype());
  params.cache_dtype = ShaderDType(layout.dtype());

  ASSIGN_OR_RETURN(const auto groups,
                   FoldGrid(recorder.device().limits(), args.slots.extent(0), "reshape_and_cache"));
  std::vector<Access> accesses = {Reads(args.key), Reads(args.value), Reads(args.slots)};
  if (args.k_scales.given()) accesses.push_back(Reads(args.k_scales));
  if (args.v_scales.given()) accesses.push_back(Reads(args.v_scales));
  RETURN_IF_ERROR(AppendCache(args.cache, /*write=*/true, accesses));
  return recorder.Dispatch(*kernels.quantize_to_cache,
                           ParamBytes(params, offsetof(QuantizeToCacheParams, segments), segments),
                           groups, accesses);
}

absl::Status RecordQuantizeFp8(Recorder& recorder, const OperationKernels& kernels,
                               const QuantizeFp8Args& args) {
  const TensorView& source = args.source;
  const TensorView& destination = args.destination;
  const uint64_t element = SizeOf(source.dtype());
  QuantizeFp8Params params;
  params.source = source.address();
  params.destination = destination.address();
  params.head_scales = args.head_scales.address();
  params.source_row_stride = source.stride(0) * element;
  params.source_head_stride = source.stride(1) * element;
  params.destination_row_stride = destination.stride(0);
  params.destination_head_stride = destination.stride(1);
  params.rows = static_cast<uint32_t>(source.extent(0));
  params.heads = static_cast<uint32_t>(source.extent(1));
  params.head_size = static_cast<uint32_t>(source.extent(2));
  ASSIGN_OR_RETURN(params.quads_per_head,
                   QuadsPerHead("quantize_fp8", source.extent(1), source.extent(2)));
  params.by_quads_per_head = MakeDivisor(params.quads_per_head);
  params.source_dtype = ShaderDType(source.dtype());
  params.destination_dtype = ShaderDType(destination.dtype());
  params.whole = IsAligned(params.destination | params.destination_row_stride |
                               params.destination_head_stride | params.head_size,
                           kQuad)
                     ? 1
                     : 0;
  params.scale = args.scale;

  ASSIGN_OR_RETURN(const auto groups,
                   FoldGrid(recorder.device().limits(), source.extent(0), "quantize_fp8"));
  std::vector<Access> accesses = {Reads(source), Writes(destination)};
  if (args.head_scales.given()) accesses.push_back(Reads(args.head_scales));
  return recorder.Dispatch(*kernels.quantize_fp8, ParamBytes(params), groups, accesses);
}

}  // namespace weft::vulkan
