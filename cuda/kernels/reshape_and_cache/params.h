// SPDX-License-Identifier: Apache-2.0
//
// The argument block of the ReshapeAndCache kernel, and the arithmetic on it that host and device
// share: where a slot's token goes, and how a thread copies its column. Kept free of CUDA headers
// so that tests can run exactly this code on a CPU.
#ifndef WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_PARAMS_H_
#define WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_PARAMS_H_

#include <cstdint>
#include <type_traits>

#include "core/divisor.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/host_device.h"
#include "cuda/kernels/reshape_and_cache/config.h"

namespace weft::cuda {

// A strided [tokens, heads, head_size] source. Addresses and strides in bytes, so that one block of
// arguments serves any unit.
struct ReshapeSource {
  uint64_t base;
  int64_t token_stride;
  int64_t head_stride;
};

// Strides in bytes. The units of a head lie in runs of adjacent ones (core/kv_cache.h, KvStrides):
// mostly in one, and then `run` is never used.
struct ReshapeCacheStrides {
  int64_t block;
  int64_t token;
  int64_t head;
  int64_t run;
  uint32_t run_units;
  Divisor by_run_units;
};

struct ReshapeSegment {
  uint64_t key_base;
  uint64_t value_base;
};

// Passed by value. A unit is what a thread moves at once: bytes that are copied, or elements that
// are quantised. Every address that slots inside [first_block, first_block + num_blocks) lead to
// lies in live memory (Queue::ReshapeAndCache has checked it), and every base and stride is a
// multiple of the unit there.
struct ReshapeAndCacheParams {
  ReshapeSource key;
  ReshapeSource value;
  uint64_t slots;  // int64 [num_tokens]
  int64_t num_tokens;

  ReshapeCacheStrides key_cache;
  ReshapeCacheStrides value_cache;
  int64_t block_size;
  int64_t blocks_per_segment;
  // The blocks of this launch's segments. Other slots are left to the other launches, or are
  // outside the cache; either way this launch does not write them.
  int64_t first_block;
  int64_t num_blocks;

  uint32_t units_per_head;
  uint32_t row_units;  // units_per_head * heads, below 2^31
  Divisor by_units_per_head;

  // Of elements that are quantised.
  uint64_t k_scales;  // f32 [heads]; 0: 1
  uint64_t v_scales;
  ElementType source_type;
  ElementType cache_type;

  ReshapeSegment segments[kReshapeMaxSegments];
};
static_assert(std::is_trivially_copyable_v<ReshapeAndCacheParams>);
static_assert(sizeof(ReshapeAndCacheParams) <= 4096, "the classic limit of kernel arguments");

// Where a token's first key and value go; key == 0 if it is not written.
struct ReshapeDestination {
  uint64_t key;
  uint64_t value;
};

WEFT_HOST_DEVICE inline ReshapeDestination ResolveSlot(const ReshapeAndCacheParams& p,
                                                       int64_t slot) {
  if (slot < 0) return {0, 0};
  const int64_t block_id = slot / p.block_size;
  const int64_t token = slot - block_id * p.block_size;
  const int64_t block = block_id - p.first_block;
  if (block < 0 || block >= p.num_blocks) return {0, 0};
  const int64_t segment = block / p.blocks_per_segment;
  const int64_t row = block - segment * p.blocks_per_segment;
  const ReshapeSegment& bases = p.segments[segment];
  return {bases.key_base + row * p.key_cache.block + token * p.key_cache.token,
          bases.value_base + row * p.value_cache.block + token * p.value_cache.token};
}

// Where a unit of a row lies: in the source from a token's row on, in the cache from the token's
// destination on.
struct ReshapeColumn {
  uint32_t head;
  uint64_t key_from;
  uint64_t value_from;
  int64_t key_to;
  int64_t value_to;
};

// Bytes from a head's first unit to its unit `unit`.
WEFT_HOST_DEVICE inline int64_t OffsetOfUnit(const ReshapeCacheStrides& strides, uint32_t unit,
                                             uint32_t unit_bytes) {
  const uint32_t run = Divide(unit, strides.by_run_units);
  return run * strides.run + int64_t{unit - run * strides.run_units} * unit_bytes;
}

// `source_bytes` and `cache_bytes`: of a unit.
WEFT_HOST_DEVICE inline ReshapeColumn ColumnOf(const ReshapeAndCacheParams& p, uint32_t column,
                                               uint32_t source_bytes, uint32_t cache_bytes) {
  const uint32_t head = Divide(column, p.by_units_per_head);
  const uint32_t unit = column - head * p.units_per_head;
  const int64_t within = int64_t{unit} * source_bytes;
  return {head, p.key.base + head * p.key.head_stride + within,
          p.value.base + head * p.value.head_stride + within,
          head * p.key_cache.head + OffsetOfUnit(p.key_cache, unit, cache_bytes),
          head * p.value_cache.head + OffsetOfUnit(p.value_cache, unit, cache_bytes)};
}

// One unit of the rows of tokens first + t, for t = y, y + step, ... < count, at most
// kTokens of them. All are loaded before any is stored: nothing tells the compiler
// that sources and cache are apart, so it could not move the loads itself.
template <typename Raw, int kTokens>
struct ReshapeUnits {
  Raw key[kTokens];
  Raw value[kTokens];
};

// Also of tokens that are not written: their rows are there, and slots need not be waited for.
// `load(address)` gives a Raw.
template <typename Raw, int kTokens, typename Load>
WEFT_HOST_DEVICE inline void LoadColumn(const ReshapeAndCacheParams& p, const ReshapeColumn& at,
                                        int64_t first, int count, int y, int step,
                                        ReshapeUnits<Raw, kTokens>& units, const Load& load) {
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kTokens; ++i) {
    const int t = y + i * step;
    if (t >= count) continue;
    units.key[i] = load(at.key_from + (first + t) * p.key.token_stride);
    units.value[i] = load(at.value_from + (first + t) * p.value.token_stride);
  }
}

// `store_key(address, raw)` and `store_value` write one.
template <typename Raw, int kTokens, typename StoreKey, typename StoreValue>
WEFT_HOST_DEVICE inline void StoreColumn(const ReshapeDestination* destinations,
                                         const ReshapeColumn& at, int count, int y, int step,
                                         const ReshapeUnits<Raw, kTokens>& units,
                                         const StoreKey& store_key, const StoreValue& store_value) {
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kTokens; ++i) {
    const int t = y + i * step;
    if (t >= count || destinations[t].key == 0) continue;
    store_key(destinations[t].key + at.key_to, units.key[i]);
    store_value(destinations[t].value + at.value_to, units.value[i]);
  }
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_PARAMS_H_
