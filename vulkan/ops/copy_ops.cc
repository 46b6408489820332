// SPDX-License-Identifier: Apache-2.0
//
// ReshapeAndCache and GatherRows.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "vulkan/ops/grid.h"
#include "vulkan/ops/modules.h"
#include "vulkan/ops/ops.h"
#include "vulkan/ops/params.h"
#include "vulkan/ops/segments.h"

namespace weft::vulkan {
namespace {

// Integral part, as near as the type comes to it.
template <typename T>
T Integral(float value) {
  if (std::isnan(value)) return 0;
  if (value >= static_cast<float>(std::numeric_limits<T>::max())) {
    return std::numeric_limits<T>::max();
  }
  if (value <= static_cast<float>(std::numeric_limits<T>::min())) {
    return std::numeric_limits<T>::min();
  }
  return static_cast<T>(value);
}

// 16 bytes of elements that hold `value`.
void MakeFill(DType dtype, float value, uint32_t (&fill)[4]) {
  uint8_t bytes[16];
  for (int64_t i = 0; i < 16 / SizeOf(dtype); ++i) {
    if (dtype == DType::kI32) {
      const auto element = Integral<int32_t>(value);
      std::memcpy(bytes + 4 * i, &element, 4);
    } else if (dtype == DType::kI64) {
      const auto element = Integral<int64_t>(value);
      std::memcpy(bytes + 8 * i, &element, 8);
    } else {
      StoreFloat(dtype, bytes, i, value);
    }
  }
  std::memcpy(fill, bytes, 16);
}

}  // namespace

CopyKernels::Choice CopyKernels::Choose(uint64_t bits) const {
  for (size_t i = 0; i < kUnits.size(); ++i) {
    if (IsAligned(bits, kUnits[i])) return {by_unit_[i], kUnits[i]};
  }
  return {};  // an odd address: no element has one
}

absl::StatusOr<std::unique_ptr<CopyKernels>> PrepareCopyKernels(Device& device) {
  const DeviceLimits& limits = device.limits();
  const uint32_t threads = limits.is_software ? 32 : 128;
  std::array<CopyKernels::Pair, 3> by_unit;
  for (size_t i = 0; i < by_unit.size(); ++i) {
    const std::vector<uint32_t> constants = {CopyKernels::kUnits[i], threads};
    ASSIGN_OR_RETURN(by_unit[i].reshape_and_cache,
                     device.kernels().Get({&ReshapeAndCacheModule(), constants}));
    ASSIGN_OR_RETURN(by_unit[i].gather_rows,
                     device.kernels().Get({&GatherRowsModule(), constants}));
  }
  return std::make_unique<CopyKernels>(by_unit, threads);
}

absl::Status RecordReshapeAndCache(Recorder& recorder, const CopyKernels& kernels,
                                   const ReshapeAndCacheArgs& args) {
  const KvCacheLayout& layout = args.cache.layout();
  const uint64_t element = SizeOf(layout.dtype());
  const uint64_t head_bytes = layout.head_size() * element;
  ReshapeAndCacheParams params;
  params.key = args.key.address();
  params.value = args.value.address();
  params.slots = args.slots.address();
  params.key_row_stride = args.key.stride(0) * element;
  params.key_head_stride = args.key.stride(1) * element;
  params.value_row_stride = args.value.stride(0) * element;
  params.value_head_stride = args.value.stride(1) * element;
  params.key_block_stride = layout.key_strides().block * element;
  params.key_token_stride = layout.key_strides().token * element;
  params.cache_key_head_stride = layout.key_strides().head * element;
  params.value_block_stride = layout.value_strides().block * element;
  params.value_token_stride = layout.value_strides().token * element;
  params.cache_value_head_stride = layout.value_strides().head * element;
  params.num_slots = args.cache.num_slots();
  params.block_size = layout.block_size();
  params.num_tokens = static_cast<uint32_t>(args.slots.extent(0));
  params.num_kv_heads = static_cast<uint32_t>(layout.num_kv_heads());
  ASSIGN_OR_RETURN(const SegmentTable segments, FillSegments(args.cache, params.segments));
  params.blocks_per_segment = segments.blocks_per_segment;
  params.by_blocks_per_segment = MakeDivisor(segments.blocks_per_segment);

  const CopyKernels::Choice choice = kernels.Choose(
      segments.address_bits | params.key | params.value | params.key_row_stride |
      params.key_head_stride | params.value_row_stride | params.value_head_stride | head_bytes);
  if (choice.unit == 0) return absl::InvalidArgumentError("reshape_and_cache: an odd address");
  const uint64_t units_per_head = head_bytes / choice.unit;
  if (units_per_head * layout.num_kv_heads() > std::numeric_limits<int32_t>::max()) {
    return absl::OutOfRangeError(absl::StrCat("reshape_and_cache: ", layout.num_kv_heads(),
                                              " heads of ", head_bytes,
                                              " bytes, more than 31 bits count"));
  }
  params.units_per_head = static_cast<uint32_t>(units_per_head);
  params.by_units_per_head = MakeDivisor(params.units_per_head);

  ASSIGN_OR_RETURN(const auto groups,
                   FoldGrid(recorder.device().limits(), args.slots.extent(0), "reshape_and_cache"));
  std::vector<Access> accesses = {Reads(args.key), Reads(args.value), Reads(args.slots)};
  RETURN_IF_ERROR(AppendCache(args.cache, /*write=*/true, accesses));
  return recorder.Dispatch(*choice.kernels.reshape_and_cache,
                           ParamBytes(params, offsetof(ReshapeAndCacheParams, segments), segments),
                           groups, accesses);
}

absl::Status RecordGatherRows(Recorder& recorder, const CopyKernels& kernels,
                              const GatherRowsArgs& args) {
  const uint64_t element = SizeOf(args.source.dtype());
  const int64_t rows = args.destination.extent(0);
  const uint64_t row_bytes = args.destination.num_elements() / rows * element;
  GatherRowsParams params;
  params.source = args.source.address();
  params.index = args.index.address();
  params.destination = args.destination.address();
  params.source_row_stride = args.source.stride(0) * element;
  params.destination_row_stride = args.destination.stride(0) * element;
  params.source_rows = args.source.extent(0);
  MakeFill(args.source.dtype(), args.fill, params.fill);

  const CopyKernels::Choice choice =
      kernels.Choose(params.source | params.destination | params.source_row_stride |
                     params.destination_row_stride | row_bytes);
  if (choice.unit == 0) return absl::InvalidArgumentError("gather_rows: an odd address");
  params.units_per_row = row_bytes / choice.unit;
  // Few enough for parallelism, enough to outweigh the start of a workgroup.
  params.units_per_part = uint64_t{16} * kernels.threads();
  const uint64_t parts = (params.units_per_row + params.units_per_part - 1) / params.units_per_part;
  const int64_t bound = std::numeric_limits<int32_t>::max();
  if (rows > bound || parts > static_cast<uint64_t>(bound / rows)) {
    return absl::OutOfRangeError(absl::StrCat("gather_rows: ", rows, " rows in ", parts,
                                              " parts each, more than 31 bits count"));
  }
  params.rows = static_cast<uint32_t>(rows);
  params.parts = static_cast<uint32_t>(parts);
  ASSIGN_OR_RETURN(const auto groups, FoldGrid(recorder.device().limits(),
                                               rows * static_cast<int64_t>(parts), "gather_rows"));
  const std::vector<Access> accesses = {Reads(args.source), Reads(args.index),
                                        Writes(args.destination)};
  return recorder.Dispatch(
      *choice.kernels.gather_rows,
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(&params), sizeof(params)), groups,
      accesses);
}

}  // namespace weft::vulkan
