// SPDX-License-Identifier: Apache-2.0
//
// Where keys and values lie, and their way into shared memory.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_PAGES_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_PAGES_CUH_

#include <cstdint>

#include "cuda/kernels/attention/operand.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/ptx.cuh"
#include "cuda/kernels/divide.h"

namespace weft::cuda {

// One token of one kv head.
struct TokenAddress {
  uint64_t key;
  uint64_t value;
};

// The block that holds `key`, of the request whose table begins at `first_block`. `key` must be one
// of the request's.
__device__ inline int32_t LoadBlockId(const AttentionParams& p, int first_block, int key) {
  const uint32_t index = Divide(static_cast<uint32_t>(key), p.by_block_size);
  return __ldg(reinterpret_cast<const int32_t*>(p.blocks) + first_block + index);
}

// Where `key` of block `block` lies: its place in the segment's keys, or values.
__device__ inline int64_t PlaceOf(const CacheSide& side, int64_t local, int64_t token,
                                  int64_t kv_head) {
  return local * side.block_stride + token * side.token_stride + kv_head * side.head_stride;
}
struct TokenPlace {
  uint32_t segment;
  uint32_t local;  // the block's number there
  uint32_t token;  // in the block
};
__device__ inline TokenPlace FindPlace(const AttentionParams& p, int32_t block, int key) {
  const uint32_t index = Divide(static_cast<uint32_t>(key), p.by_block_size);
  TokenPlace place = {0, static_cast<uint32_t>(block),
                      static_cast<uint32_t>(key) - index * p.block_size};
  if (p.num_segments > 1) {
    place.segment = Divide(place.local, p.by_blocks_per_segment);
    place.local -= place.segment * p.blocks_per_segment;
  }
  return place;
}
__device__ inline uint64_t LocateKey(const AttentionParams& p, int32_t block, int key,
                                     int kv_head) {
  const TokenPlace place = FindPlace(p, block, key);
  return p.segments[place.segment].key + PlaceOf(p.key, place.local, place.token, kv_head);
}
__device__ inline uint64_t LocateValue(const AttentionParams& p, int32_t block, int key,
                                       int kv_head) {
  const TokenPlace place = FindPlace(p, block, key);
  return p.segments[place.segment].value + PlaceOf(p.value, place.local, place.token, kv_head);
}
__device__ inline TokenAddress Locate(const AttentionParams& p, int32_t block, int key,
                                      int kv_head) {
  const TokenPlace place = FindPlace(p, block, key);
  const AttentionSegment& segment = p.segments[place.segment];
  return {segment.key + PlaceOf(p.key, place.local, place.token, kv_head),
          segment.value + PlaceOf(p.value, place.local, place.token, kv_head)};
}

// A lane's piece of every row: where it lies behind the row's first element, and how much of it
// there is.
struct RowPiece {
  int64_t offset;
  uint32_t bytes;
};

template <int kElementBytes>
__device__ inline RowPiece MakeRowPiece(const CacheSide& side, uint32_t head_size, int piece) {
  const uint32_t dim = piece * (kPieceBytes / kElementBytes);
  if (dim >= head_size) return {0, 0};
  const uint32_t left = (head_size - dim) * kElementBytes;
  const uint32_t bytes = left < kPieceBytes ? left : kPieceBytes;
  if (side.run >= head_size) return {int64_t{piece} * kPieceBytes, bytes};
  const uint32_t run = dim / side.run;
  return {run * side.run_stride + int64_t{dim - run * side.run} * kElementBytes, bytes};
}

// The slow way, for rows that do not lie in pieces: element by element, and not asynchronous. What
// is not there (row 0: nothing is) becomes 0.
template <int kElementBytes>
__device__ inline void GatherPiece(uint32_t to, uint64_t row, const CacheSide& side,
                                   uint32_t head_size, int piece) {
  constexpr uint32_t kElements = kPieceBytes / kElementBytes;
#pragma unroll 1
  for (uint32_t e = 0; e < kElements; ++e) {
    const uint32_t dim = piece * kElements + e;
    uint32_t element = 0;
    if (row != 0 && dim < head_size) {
      const uint32_t run = dim / side.run;
      const uint64_t at =
          row + run * side.run_stride + int64_t{dim - run * side.run} * kElementBytes;
      element = kElementBytes == 1 ? uint32_t{*reinterpret_cast<const uint8_t*>(at)}
                                   : uint32_t{*reinterpret_cast<const uint16_t*>(at)};
    }
    if (kElementBytes == 1) {
      asm volatile("st.shared.u8 [%0], %1;\n" ::"r"(to + e), "r"(element) : "memory");
    } else {
      asm volatile("st.shared.u16 [%0], %1;\n" ::"r"(to + e * 2),
                   "h"(static_cast<uint16_t>(element))
                   : "memory");
    }
  }
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_PAGES_CUH_
