// SPDX-License-Identifier: Apache-2.0
#include "testing/reference/reference_operations.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "testing/reference/host_memory.h"

namespace weft {
namespace {

// Element (row, head, 0) of a view of rank 3 (or (row, head) of one of rank 2).
uint8_t* Place(const TensorView& view, int64_t row, int64_t head) {
  return HostPointer<uint8_t>(
      view.address(), (row * view.stride(0) + head * view.stride(1)) * SizeOf(view.dtype()));
}

float ScaleOf(const TensorView& scales, int64_t head) {
  return scales.given() ? HostPointer<const float>(scales.address())[head] : 1.0f;
}

// Copies or quantises the heads of one token's row into the cache.
void StoreToken(const TensorView& rows, const TensorView& scales, int64_t row,
                const KvCacheLayout& layout, uint64_t base, const KvStrides& strides, int64_t block,
                int64_t offset) {
  const int64_t size = SizeOf(layout.dtype());
  for (int64_t head = 0; head < layout.num_kv_heads(); ++head) {
    const uint8_t* const source = Place(rows, row, head);
    uint8_t* const target = HostPointer<uint8_t>(
        base, (block * strides.block + offset * strides.token + head * strides.head) * size);
    const float scale = ScaleOf(scales, head);
    for (int64_t d = 0; d < layout.head_size(); ++d) {
      const int64_t place = DimOffset(strides, d);
      if (rows.dtype() == layout.dtype()) {
        std::memcpy(target + place * size, source + d * size, static_cast<size_t>(size));
      } else {
        StoreFloat(layout.dtype(), target, place, LoadFloat(rows.dtype(), source, d) / scale);
      }
    }
  }
}

// `value` as an integer type; what does not fit becomes the nearest that does, NaN 0.
template <typename Int>
Int Integral(float value) {
  if (std::isnan(value)) return 0;
  const double low = static_cast<double>(std::numeric_limits<Int>::min());
  const double high = static_cast<double>(std::numeric_limits<Int>::max());
  if (value <= low) return std::numeric_limits<Int>::min();
  if (value >= high) return std::numeric_limits<Int>::max();
  return static_cast<Int>(value);
}

template <typename Int>
std::vector<uint8_t> IntegralElement(float fill) {
  const Int value = Integral<Int>(fill);
  std::vector<uint8_t> element(sizeof(value));
  std::memcpy(element.data(), &value, sizeof(value));
  return element;
}

// One element of `dtype` with the value `fill`.
std::vector<uint8_t> FillElement(DType dtype, float fill) {
  switch (dtype) {
    case DType::kI32:
      return IntegralElement<int32_t>(fill);
    case DType::kI64:
      return IntegralElement<int64_t>(fill);
    case DType::kU8:
      return IntegralElement<uint8_t>(fill);
    default:
      break;
  }
  std::vector<uint8_t> element(static_cast<size_t>(SizeOf(dtype)));
  StoreFloat(dtype, element.data(), 0, fill);
  return element;
}

}  // namespace

void RunFill(uint64_t destination, int64_t bytes, uint32_t pattern) {
  auto* words = HostPointer<uint32_t>(destination);
  for (int64_t i = 0; i < bytes / 4; ++i) words[i] = pattern;
}

void RunReshapeAndCache(const ReshapeAndCacheArgs& args) {
  const KvCacheView& cache = args.cache;
  const KvCacheLayout& layout = cache.layout();
  for (int64_t row = 0; row < args.slots.extent(0); ++row) {
    const int64_t slot =
        *HostPointer<int64_t>(args.slots.address(), row * args.slots.stride(0) * 8);
    // -1 says "do not write"; anything else outside the cache must not be written either.
    if (slot < 0 || slot >= cache.num_slots()) continue;
    const int64_t block = slot / layout.block_size();
    const int64_t offset = slot % layout.block_size();
    const KvSegment& segment = cache.segments()[block / cache.blocks_per_segment()];
    const int64_t block_in_segment = block % cache.blocks_per_segment();
    StoreToken(args.key, args.k_scales, row, layout, segment.key_base, layout.key_strides(),
               block_in_segment, offset);
    StoreToken(args.value, args.v_scales, row, layout, segment.value_base, layout.value_strides(),
               block_in_segment, offset);
  }
}

void RunQuantizeFp8(const QuantizeFp8Args& args) {
  const TensorView& source = args.source;
  for (int64_t row = 0; row < source.extent(0); ++row) {
    for (int64_t head = 0; head < source.extent(1); ++head) {
      const float scale = args.scale * ScaleOf(args.head_scales, head);
      const uint8_t* const from = Place(source, row, head);
      uint8_t* const to = Place(args.destination, row, head);
      for (int64_t d = 0; d < source.extent(2); ++d) {
        StoreFloat(args.destination.dtype(), to, d, LoadFloat(source.dtype(), from, d) / scale);
      }
    }
  }
}

void RunGatherRows(const GatherRowsArgs& args) {
  const int64_t size = SizeOf(args.source.dtype());
  const std::vector<uint8_t> fill = FillElement(args.source.dtype(), args.fill);
  int64_t row_elements = 1;
  for (int axis = 1; axis < args.destination.rank(); ++axis) {
    row_elements *= args.destination.extent(axis);
  }
  for (int64_t i = 0; i < args.index.extent(0); ++i) {
    const int64_t from = *HostPointer<int64_t>(args.index.address(), i * args.index.stride(0) * 8);
    auto* target =
        HostPointer<uint8_t>(args.destination.address(), i * args.destination.stride(0) * size);
    if (from >= 0 && from < args.source.extent(0)) {
      std::memcpy(target,
                  HostPointer<uint8_t>(args.source.address(), from * args.source.stride(0) * size),
                  static_cast<size_t>(row_elements * size));
      continue;
    }
    for (int64_t e = 0; e < row_elements; ++e) {
      std::memcpy(target + e * size, fill.data(), fill.size());
    }
  }
}

}  // namespace weft
