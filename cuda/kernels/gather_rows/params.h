// SPDX-License-Identifier: Apache-2.0
//
// The argument block of the GatherRows kernel, and the arithmetic that host and device share. No
// CUDA header.
#ifndef WEFT_CUDA_KERNELS_GATHER_ROWS_PARAMS_H_
#define WEFT_CUDA_KERNELS_GATHER_ROWS_PARAMS_H_

#include <cstdint>
#include <type_traits>

#include "core/divisor.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/gather_rows/config.h"
#include "cuda/kernels/host_device.h"
#include "cuda/kernels/row_groups.h"

namespace weft::cuda {

// Addresses and strides in bytes, all of them multiples of the unit.
struct GatherRowsParams {
  uint64_t source;
  uint64_t index;  // int64 [rows]
  uint64_t destination;
  int64_t source_row_stride;
  int64_t destination_row_stride;
  int64_t source_rows;
  int64_t rows;
  int64_t units_per_row;
  uint32_t parts;  // of a row: an item is a part of at most kGatherUnitsOfPart units
  int32_t lanes_log2;
  Divisor by_parts;
  uint32_t fill[4];  // 16 bytes of rows that have no source
};
static_assert(std::is_trivially_copyable_v<GatherRowsParams>);

// The launch that begins with row `first`.
inline GatherRowsParams SkipRows(GatherRowsParams p, int64_t first) {
  p.index += static_cast<uint64_t>(first) * sizeof(int64_t);
  p.destination += static_cast<uint64_t>(first * p.destination_row_stride);
  p.rows -= first;
  const int64_t most = RowsOfLaunch(p.parts);
  if (p.rows > most) p.rows = most;
  return p;
}

// Unit `unit` of a part of a row that has no source: 16 bytes repeat, and each part begins anew.
template <typename Unit>
WEFT_HOST_DEVICE inline Unit FillUnit(const GatherRowsParams& p, uint32_t unit) {
  if constexpr (sizeof(Unit) == 16) {
    Unit whole;
    whole.x = p.fill[0];
    whole.y = p.fill[1];
    whole.z = p.fill[2];
    whole.w = p.fill[3];
    return whole;
  } else if constexpr (sizeof(Unit) == 4) {
    return p.fill[unit % 4];
  } else {
    return static_cast<Unit>(p.fill[0]);
  }
}

template <typename Unit>
WEFT_HOST_DEVICE inline void GatherPart(const GatherRowsParams& p, const GroupPlace& place) {
  const uint32_t row = Divide(place.item, p.by_parts);
  if (row >= p.rows) return;
  const uint32_t part = place.item - row * p.parts;
  const auto from = LoadGlobal<int64_t>(p.index + uint64_t{row} * sizeof(int64_t));
  const int64_t begin = int64_t{part} * kGatherUnitsOfPart;
  const int64_t left = p.units_per_row - begin;
  const uint32_t units =
      left < kGatherUnitsOfPart ? static_cast<uint32_t>(left) : uint32_t{kGatherUnitsOfPart};
  const uint32_t lanes = 1u << p.lanes_log2;
  const uint64_t to = p.destination + row * p.destination_row_stride + begin * sizeof(Unit);
  if (from < 0 || from >= p.source_rows) {
    for (uint32_t unit = place.lane; unit < units; unit += lanes) {
      StoreGlobal(to + unit * sizeof(Unit), FillUnit<Unit>(p, unit));
    }
    return;
  }
  const uint64_t source = p.source + from * p.source_row_stride + begin * sizeof(Unit);
  // All loads come before all stores: nothing tells the compiler that the rows are apart, so it
  // could not move them itself.
  Unit held[kGatherUnitsInFlight];
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kGatherUnitsInFlight; ++i) {
    const uint32_t unit = place.lane + i * lanes;
    if (unit < units) held[i] = LoadGlobal<Unit>(source + unit * sizeof(Unit));
  }
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kGatherUnitsInFlight; ++i) {
    const uint32_t unit = place.lane + i * lanes;
    if (unit < units) StoreGlobal(to + unit * sizeof(Unit), held[i]);
  }
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_GATHER_ROWS_PARAMS_H_
