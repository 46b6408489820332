// SPDX-License-Identifier: Apache-2.0
//
// What is fixed at compile time in the attention kernels, and the one table of instantiations. Host
// code, no CUDA header.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_CONFIG_H_
#define WEFT_CUDA_KERNELS_ATTENTION_CONFIG_H_

#include <cstdint>

namespace weft::cuda {

inline constexpr int kMinHeadSize = 32;
inline constexpr int kMaxHeadSize = 256;

// Kernels are made for these head sizes, and serve smaller ones.
constexpr int HeadBucket(int64_t head_size) {
  return head_size <= 64 ? 64 : head_size <= 128 ? 128 : 256;
}

// A prefill block: kWarps warps with kRowTiles * 16 query rows each walk the keys kKeys at a time.
//
// Measured on an H200: two row tiles to a warp halve what is read from shared memory for each
// product, which is what bounds mma.sync there; a row of 256 dimensions leaves registers for one.
template <int kDims>
struct PrefillShape {
  static constexpr int kWarps = kDims > 128 ? 8 : 4;
  static constexpr int kRowTiles = kDims > 128 ? 1 : 2;
  static constexpr int kKeys = kDims > 64 ? 64 : 128;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kRows = kWarps * kRowTiles * 16;
  static constexpr int kBlocksPerMultiprocessor = kDims > 128 ? 1 : 2;

  static constexpr int kHeaderBytes =
      512;  // the tile's entry; tiles begin at multiples of a row's bytes
  static constexpr int QueryBytes() { return kRows * kDims * 2; }
  // Keys and values of one stage.
  static constexpr int StageBytes(int element_bytes) { return 2 * kKeys * kDims * element_bytes; }
  static constexpr int AddressBytes() { return 2 * kKeys * 16; }
  // Powers of two that rows of the query were divided by (RowScale).
  static constexpr int RowScaleBytes() { return kRows * 4; }
  static constexpr int SharedBytes(int element_bytes, int stages) {
    return kHeaderBytes + QueryBytes() + stages * StageBytes(element_bytes) + AddressBytes() +
           RowScaleBytes();
  }
};

// A decode block: 1, 2 or 4 warps, up to 8 query heads of one kv head and one granule at a time,
// each warp kKeys keys.
inline constexpr int kMaxDecodeThreads = 128;
template <int kDims, int kElementBytes>
struct DecodeShape {
  static constexpr int kRows = 8;
  static constexpr int kParts = 4;  // of a granule; a part of the result's bits
  static constexpr int kRowBytes = kDims * kElementBytes;
  static constexpr int kKeys = kRowBytes > 256 ? 16 : 32;
  // Of a warp's ring, on a device that has room for kDecodeWarpsWanted warps with so many.
  static constexpr int kStages = kRowBytes > 128 ? 3 : 2;
  static constexpr int kStageBytes = 2 * kKeys * kRowBytes;
  // Of a head. Rows of states stand in different banks.
  static constexpr int kStateBytes = kDims * 4 + 16;
  // Of a block, where there is work for all multiprocessors; measured on an H200.
  static constexpr int kFewestWarps = 2;
};
inline constexpr int kFewestDecodeStages = 2;
inline constexpr int kDecodeWarpsWanted = 4;  // of a multiprocessor

// Granules whose states a decode block may fold (partial.cuh). A part of the result's bits.
inline constexpr int kFoldedGranules = 4;
// Granules that a decode block may walk.
inline constexpr int kMaxUnit = 64;

// Kernels for f32: a warp holds kRowsOfWarp query rows.
inline constexpr int kPlainThreads = 128;
inline constexpr int kPlainRowsOfWarp = 4;
inline constexpr int kPlainRows = kPlainThreads / 32 * kPlainRowsOfWarp;
inline constexpr int kPlainKeys = 32;
constexpr int PlainSharedBytes(int dims) {
  return (kPlainRows * dims + kPlainKeys * (2 * dims + 1)) * 4;
}

// Granules of a row are merged by kMergeWarps sums, taken in turn.
inline constexpr int kMergeWarps = 8;
inline constexpr int kMergeThreads = kMergeWarps * 32;
// Rows of so many granules, on average, are merged by a warp each; longer ones by a block.
inline constexpr int kMergeByWarps = 20;

// Every kernel of attention that is compiled, for each architecture: the type that is multiplied
// in, kind of the cache, head bucket. Each row stands for a prefill and a decode kernel.
//
// The numbers of an fp8 cache are numbers of f16 as well, and of a weight f16 keeps more than bf16;
// so f16 is what they are multiplied in, whatever the query's type is.
// clang-format off
#define WEFT_ATTENTION_INSTANCES(X)                          \
  X(F16, kSame, 64)  X(F16, kSame, 128)  X(F16, kSame, 256)  \
  X(F16, kE4M3, 64)  X(F16, kE4M3, 128)  X(F16, kE4M3, 256)  \
  X(F16, kE5M2, 64)  X(F16, kE5M2, 128)  X(F16, kE5M2, 256)  \
  X(BF16, kSame, 64) X(BF16, kSame, 128) X(BF16, kSame, 256)
// clang-format on

// f32 queries, any cache that goes with them; one kernel for prefills and decodes.
#define WEFT_PLAIN_ATTENTION_INSTANCES(X) X(64) X(128) X(256)

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_CONFIG_H_
