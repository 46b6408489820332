// SPDX-License-Identifier: Apache-2.0
//
// The argument block of the QuantizeFp8 kernel. No CUDA header.
#ifndef WEFT_CUDA_KERNELS_QUANTIZE_PARAMS_H_
#define WEFT_CUDA_KERNELS_QUANTIZE_PARAMS_H_

#include <cstdint>
#include <type_traits>

#include "core/divisor.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/head_places.h"
#include "cuda/kernels/host_device.h"
#include "cuda/kernels/quantize/config.h"
#include "cuda/kernels/row_groups.h"

namespace weft::cuda {

// An item is a part of a (row, head): at most kQuantizeVectorsOfPart vectors.
struct QuantizeFp8Params {
  HeadPlaces source;
  HeadPlaces destination;
  uint64_t head_scales;  // f32 [heads]; 0: 1
  int64_t rows;
  uint32_t heads;
  uint32_t parts;
  Divisor by_heads;
  Divisor by_parts;
  int32_t lanes_log2;
  uint32_t vectors;  // of a head, below 2^31
  ElementType source_type;
  ElementType destination_type;
  bool whole;  // vectors of 16 bytes as read; otherwise of one element
  float scale;
};
static_assert(std::is_trivially_copyable_v<QuantizeFp8Params>);

// The launch that begins with row `first`.
inline QuantizeFp8Params SkipRows(QuantizeFp8Params p, int64_t first) {
  SkipRows(p.source, first);
  SkipRows(p.destination, first);
  const int64_t left = p.rows - first;
  const int64_t most = RowsOfLaunch(int64_t{p.heads} * p.parts);
  p.rows = left < most ? left : most;
  return p;
}

struct QuantizeItem {
  uint32_t row;
  uint32_t head;
  uint32_t first;  // vector of this lane
  uint32_t end;    // of the part
};

WEFT_HOST_DEVICE inline QuantizeItem ItemOf(const QuantizeFp8Params& p, const GroupPlace& place) {
  const uint32_t row_head = Divide(place.item, p.by_parts);
  const uint32_t part = place.item - row_head * p.parts;
  const uint32_t row = Divide(row_head, p.by_heads);
  const uint32_t begin = part * kQuantizeVectorsOfPart;
  const uint32_t left = p.vectors - begin;
  const uint32_t count = left < kQuantizeVectorsOfPart ? left : uint32_t{kQuantizeVectorsOfPart};
  return {row, row_head - row * p.heads, begin + place.lane, begin + count};
}

WEFT_HOST_DEVICE inline Quotient QuotientOfHead(const QuantizeFp8Params& p, uint32_t head) {
  if (p.head_scales == 0) return MakeQuotient(p.scale);
  return MakeQuotient(p.scale * LoadGlobal<float>(p.head_scales + uint64_t{head} * sizeof(float)));
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_QUANTIZE_PARAMS_H_
