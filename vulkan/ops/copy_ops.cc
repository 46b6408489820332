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
#include "vulkan/ops/ops.h"
#include "vulkan/ops/params.h"
#include "vulkan/ops/quantize_ops.h"
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
    if (dtype == DType::kU8) {
      bytes[i] = Integral<uint8_t>(value);
    } else if (dtype == DType::kI32) {
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

// The largest unit that divides `bits`, an `or` of all addresses, strides and sizes in bytes.
uint32_t UnitBytes(uint64_t bits) {
  for (const uint32_t unit : {16u, 4u, 2u}) {
    if (IsAligned(bits, unit)) return unit;
  }
  return 1;
}

const Kernel& KernelOf(const OperationKernels::Copies& copies, uint32_t unit) {
  return unit == 16 ? *copies.whole : *copies.small;
}

void FillStrides(const ReshapeAndCacheArgs& args, ReshapeAndCacheParams& params) {
  const KvCacheLayout& layout = args.cache.layout();
  const uint64_t element = SizeOf(layout.dtype());
  const KvStrides& key = layout.key_strides();
  const KvStrides& value = layout.value_strides();
  params.key = args.key.address();
  params.value = args.value.address();
  params.key_row_stride = args.key.stride(0) * element;
  params.key_head_stride = args.key.stride(1) * element;
  params.value_row_stride = args.value.stride(0) * element;
  params.value_head_stride = args.value.stride(1) * element;
  params.key_block_stride = key.block * element;
  params.key_token_stride = key.token * element;
  params.cache_key_head_stride = key.head * element;
  params.value_block_stride = value.block * element;
  params.value_token_stride = value.token * element;
  params.cache_value_head_stride = value.head * element;
  if (key.inner > 0) params.key_run_stride = key.split * element;
  if (value.inner > 0) params.value_run_stride = value.split * element;
}

// The sizes that are counted in units.
absl::Status FillUnits(const KvCacheLayout& layout, uint32_t unit, ReshapeAndCacheParams& params) {
  const int64_t element = SizeOf(layout.dtype());
  const int64_t units_per_head = layout.head_size() * element / unit;
  if (units_per_head * layout.num_kv_heads() > std::numeric_limits<int32_t>::max()) {
    return absl::OutOfRangeError(absl::StrCat("reshape_and_cache: ", layout.num_kv_heads(),
                                              " heads of ", layout.head_size() * element,
                                              " bytes, more than 31 bits count"));
  }
  params.unit_bytes = unit;
  params.units_per_head = static_cast<uint32_t>(units_per_head);
  params.key_run_units =
      static_cast<uint32_t>(RunOf(layout, layout.key_strides()) * element / unit);
  params.value_run_units =
      static_cast<uint32_t>(RunOf(layout, layout.value_strides()) * element / unit);
  params.by_units_per_head = MakeDivisor(params.units_per_head);
  params.by_key_run_units = MakeDivisor(params.key_run_units);
  params.by_value_run_units = MakeDivisor(params.value_run_units);
  return absl::OkStatus();
}

}  // namespace

absl::Status RecordReshapeAndCache(Recorder& recorder, const OperationKernels& kernels,
                                   const ReshapeAndCacheArgs& args) {
  const KvCacheLayout& layout = args.cache.layout();
  if (args.key.dtype() != layout.dtype()) return RecordQuantizeToCache(recorder, kernels, args);
  ReshapeAndCacheParams params;
  FillStrides(args, params);
  params.slots = args.slots.address();
  params.num_slots = args.cache.num_slots();
  params.block_size = layout.block_size();
  params.num_tokens = static_cast<uint32_t>(args.slots.extent(0));
  params.num_kv_heads = static_cast<uint32_t>(layout.num_kv_heads());
  ASSIGN_OR_RETURN(const SegmentTable segments, FillSegments(args.cache, params.segments));
  params.blocks_per_segment = segments.blocks_per_segment;
  params.by_blocks_per_segment = MakeDivisor(segments.blocks_per_segment);
  const uint32_t unit =
      UnitBytes(segments.address_bits | params.key | params.value | params.key_row_stride |
                params.key_head_stride | params.value_row_stride | params.value_head_stride |
                static_cast<uint64_t>(layout.head_size() * SizeOf(layout.dtype())));
  RETURN_IF_ERROR(FillUnits(layout, unit, params));

  ASSIGN_OR_RETURN(const auto groups,
                   FoldGrid(recorder.device().limits(), args.slots.extent(0), "reshape_and_cache"));
  std::vector<Access> accesses = {Reads(args.key), Reads(args.value), Reads(args.slots)};
  RETURN_IF_ERROR(AppendCache(args.cache, /*write=*/true, accesses));
  return recorder.Dispatch(KernelOf(kernels.reshape_and_cache, unit),
                           ParamBytes(params, offsetof(ReshapeAndCacheParams, segments), segments),
                           groups, accesses);
}

absl::Status RecordGatherRows(Recorder& recorder, const OperationKernels& kernels,
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

  const uint32_t unit = UnitBytes(params.source | params.destination | params.source_row_stride |
                                  params.destination_row_stride | row_bytes);
  params.unit_bytes = unit;
  params.units_per_row = row_bytes / unit;
  // Few enough for parallelism, enough to outweigh the start of a workgroup.
  params.units_per_part = uint64_t{16} * kernels.threads;
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
  return recorder.Dispatch(KernelOf(kernels.gather_rows, unit), ParamBytes(params), groups,
                           accesses);
}

}  // namespace weft::vulkan
