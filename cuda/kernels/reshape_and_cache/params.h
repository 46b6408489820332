// SPDX-License-Identifier: Apache-2.0
//
// The argument block of the ReshapeAndCache kernel, and the arithmetic on it that host and device
// share: where a slot's token goes, and how a thread copies its column. Kept free of CUDA headers
// so that tests can run exactly this code on a CPU.
#ifndef WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_PARAMS_H_
#define WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_PARAMS_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda/kernels/reshape_and_cache/config.h"

#ifdef __CUDACC__
#define WEFT_HOST_DEVICE __host__ __device__
#else
#define WEFT_HOST_DEVICE
#endif

namespace weft::cuda {

// A strided [tokens, heads, head_size] source. Addresses and strides in bytes, so that one block of
// arguments serves any unit.
struct ReshapeSource {
  uint64_t base;
  int64_t token_stride;
  int64_t head_stride;
};

struct ReshapeCacheStrides {  // bytes
  int64_t block;
  int64_t token;
  int64_t head;
};

struct ReshapeSegment {
  uint64_t key_base;
  uint64_t value_base;
};

// Passed by value. Every address that slots inside [first_block, first_block + num_blocks) lead to
// lies in live memory (Queue::ReshapeAndCache has checked it), and every base and stride is a
// multiple of the unit.
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

  int32_t units_per_head;
  int32_t row_units;  // units_per_head * heads
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

template <typename Unit>
WEFT_HOST_DEVICE inline Unit LoadUnit(uint64_t address) {
#ifdef __CUDA_ARCH__
  return *reinterpret_cast<const Unit*>(address);
#else
  Unit unit;
  std::memcpy(&unit, reinterpret_cast<const void*>(address), sizeof(Unit));
  return unit;
#endif
}

template <typename Unit>
WEFT_HOST_DEVICE inline void StoreUnit(uint64_t address, const Unit& unit) {
#ifdef __CUDA_ARCH__
  *reinterpret_cast<Unit*>(address) = unit;
#else
  std::memcpy(reinterpret_cast<void*>(address), &unit, sizeof(Unit));
#endif
}

// Copies unit `column` of the rows of tokens first + t, for t = y, y + step, ... < count, at most
// kReshapeTokensInFlight of them. All loads come before all stores: nothing tells the compiler that
// sources and cache are apart, so it could not move them itself.
template <typename Unit>
WEFT_HOST_DEVICE inline void CopyColumn(const ReshapeAndCacheParams& p,
                                        const ReshapeDestination* destinations, int64_t first,
                                        int count, int column, int y, int step) {
  const int head = column / p.units_per_head;
  const int64_t within = int64_t{column - head * p.units_per_head} * sizeof(Unit);
  const uint64_t key_from = p.key.base + head * p.key.head_stride + within;
  const uint64_t value_from = p.value.base + head * p.value.head_stride + within;
  const int64_t key_to = head * p.key_cache.head + within;
  const int64_t value_to = head * p.value_cache.head + within;
  Unit key[kReshapeTokensInFlight];
  Unit value[kReshapeTokensInFlight];
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kReshapeTokensInFlight; ++i) {
    const int t = y + i * step;
    if (t >= count || destinations[t].key == 0) continue;
    key[i] = LoadUnit<Unit>(key_from + (first + t) * p.key.token_stride);
    value[i] = LoadUnit<Unit>(value_from + (first + t) * p.value.token_stride);
  }
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kReshapeTokensInFlight; ++i) {
    const int t = y + i * step;
    if (t >= count || destinations[t].key == 0) continue;
    StoreUnit(destinations[t].key + key_to, key[i]);
    StoreUnit(destinations[t].value + value_to, value[i]);
  }
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_PARAMS_H_
