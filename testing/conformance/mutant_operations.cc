// SPDX-License-Identifier: Apache-2.0
//
// ReshapeAndCache and GatherRows of the mutant.
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "testing/conformance/mutant_backend.h"
#include "testing/conformance/mutant_memory.h"

namespace weft::testing {
namespace {

uint8_t* Bytes(uint64_t address, int64_t offset) {
  return reinterpret_cast<uint8_t*>(address + static_cast<uint64_t>(offset));
}

// Where an element of a token stands in the cache.
struct Target {
  uint64_t base = 0;
  int64_t first = 0;
  const KvStrides* strides = nullptr;
};

void StoreElement(const ReshapeAndCacheArgs& args, const Target& target, const TensorView& rows,
                  int64_t from, int64_t head, int64_t d, bool key, Fault fault) {
  const DType dtype = args.cache.layout().dtype();
  const bool adjacent = fault == Fault::kWriteAdjacentDims && target.strides->inner > 0;
  const int64_t to =
      target.first + head * target.strides->head +
      (adjacent ? std::min<int64_t>(d, target.strides->inner - 1) : DimOffset(*target.strides, d));
  // What 32 bits do not hold is written somewhere else; not here, at least.
  const bool wraps = to * SizeOf(dtype) > std::numeric_limits<int32_t>::max();
  if (fault == Fault::kWriteOffset32 && wraps) return;
  if (rows.dtype() == dtype) {
    const int64_t size = SizeOf(dtype);
    std::memcpy(Bytes(target.base, to * size), Bytes(rows.address(), from * size),
                static_cast<size_t>(size));
    return;
  }
  const bool k_scale = key || fault == Fault::kWriteKeyScale;
  const float scale = ValueOr(k_scale ? args.k_scales : args.v_scales,
                              fault == Fault::kWriteScaleOfFirstHead ? 0 : head, 1.0f);
  Fp8Fault how = Fp8Fault::kNone;
  if (fault == Fault::kWriteOverflow) how = Fp8Fault::kOverflow;
  if (fault == Fault::kWriteTruncate) how = Fp8Fault::kTruncate;
  const float value = Load(rows, from);
  *Bytes(target.base, to) =
      ToFp8(dtype, fault == Fault::kWriteUnscaled ? value : value / scale, how);
}

void StoreToken(const ReshapeAndCacheArgs& args, const TensorView& rows, int64_t row, int64_t slot,
                bool key, Fault fault) {
  const KvCacheView& cache = args.cache;
  const KvCacheLayout& layout = cache.layout();
  const int64_t block = slot / layout.block_size();
  const size_t segment_index = fault == Fault::kFirstSegmentOnly
                                   ? 0
                                   : static_cast<size_t>(block / cache.blocks_per_segment());
  const KvSegment& segment = cache.segments()[segment_index];
  const KvStrides& strides = key ? layout.key_strides() : layout.value_strides();
  const Target target = {key ? segment.key_base : segment.value_base,
                         block % cache.blocks_per_segment() * strides.block +
                             slot % layout.block_size() * strides.token,
                         &strides};
  for (int64_t head = 0; head < rows.extent(1); ++head) {
    const bool last = fault == Fault::kDropLastElement && head + 1 == rows.extent(1);
    for (int64_t d = 0; d < layout.head_size() - (last ? 1 : 0); ++d) {
      const int64_t from = fault == Fault::kPackedKey ? PackedIndex(rows, row, head, d)
                                                      : IndexOf(rows, row, head, d);
      StoreElement(args, target, rows, from, head, d, key, fault);
    }
  }
}

int64_t MutatedSlot(int64_t slot, int64_t num_slots, Fault fault) {
  if (slot == -1 && fault == Fault::kWriteSkipped) return 0;
  if ((slot < -1 || slot >= num_slots) && fault == Fault::kBadSlotClamped) {
    return std::clamp<int64_t>(slot, 0, num_slots - 1);
  }
  if (slot < 0 || slot >= num_slots) return -1;
  return fault == Fault::kNextSlot ? (slot + 1) % num_slots : slot;
}

}  // namespace

void RunMutantReshape(const ReshapeAndCacheArgs& args, Fault fault) {
  const auto* const slots = reinterpret_cast<const int64_t*>(args.slots.address());
  const int64_t count = args.slots.extent(0);
  const bool swap = fault == Fault::kSwapKeyValue;
  for (int64_t row = 0; row < count; ++row) {
    const int64_t slot = MutatedSlot(slots[row], args.cache.num_slots(), fault);
    if (slot < 0) continue;
    const int64_t source = fault == Fault::kSwapTokens && (row ^ 1) < count ? row ^ 1 : row;
    StoreToken(args, swap ? args.value : args.key, source, slot, true, fault);
    StoreToken(args, swap ? args.key : args.value, source, slot, false, fault);
  }
  if (fault == Fault::kExtraToken && args.key.extent(0) > count) {
    StoreToken(args, args.key, count, 0, true, fault);
    StoreToken(args, args.value, count, 0, false, fault);
  }
}

void RunMutantGather(const GatherRowsArgs& args, Fault fault) {
  const TensorView& source = args.source;
  const TensorView& destination = args.destination;
  const int64_t size = SizeOf(source.dtype());
  int64_t elements = 1;
  for (int axis = 1; axis < destination.rank(); ++axis) elements *= destination.extent(axis);
  std::vector<uint8_t> fill(static_cast<size_t>(elements * size));
  for (int64_t i = 0; i < elements && fault != Fault::kZeroFill; ++i) {
    const auto integer = static_cast<int64_t>(args.fill);
    if (IsFloat(source.dtype()) || IsFp8(source.dtype())) {
      StoreFloat(source.dtype(), fill.data(), i, args.fill);
    } else {
      std::memcpy(&fill[i * size], &integer, static_cast<size_t>(size));
    }
  }
  const int64_t bytes = elements * size;
  const int64_t written = fault == Fault::kWholeWords ? (bytes + 3) / 4 * 4 : bytes;
  const int64_t stride = fault == Fault::kPackedDestination ? elements : destination.stride(0);
  for (int64_t i = 0; i < args.index.extent(0); ++i) {
    int64_t from = reinterpret_cast<const int64_t*>(args.index.address())[i];
    if (fault == Fault::kBadIndexClamped && from != -1) {
      from = std::clamp<int64_t>(from, 0, source.extent(0) - 1);
    }
    uint8_t* const target = Bytes(destination.address(), i * stride * size);
    if (from >= 0 && from < source.extent(0)) {
      if (fault == Fault::kNextRow) from = (from + 1) % source.extent(0);
      // The bytes past the row are any bytes: it is enough that they are written.
      std::memcpy(target, Bytes(source.address(), from * source.stride(0) * size),
                  static_cast<size_t>(bytes));
      std::memset(target + bytes, 0, static_cast<size_t>(written - bytes));
    } else if (fault != Fault::kNoFill) {
      std::memcpy(target, fill.data(), fill.size());
    }
  }
}

}  // namespace weft::testing
