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
  static constexpr int kKeys = kDims > 128 ? 32 : kDims > 64 ? 64 : 128;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kRows = kWarps * kRowTiles * 16;
  static constexpr int kBlocksPerMultiprocessor = kDims > 128 ? 1 : 2;

  static constexpr int kHeaderBytes = 512;  // the tile's entry; tiles begin at multiples of a row's bytes
  static constexpr int QueryBytes() { return kRows * kDims * 2; }
  // Keys and values of one stage.
  static constexpr int StageBytes(int element_bytes) { return 2 * kKeys * kDims * element_bytes; }
  static constexpr int AddressBytes() { return 2 * kKeys * 16; }
  // Powers of two that rows of the query were divided by (RowScale).
  static constexpr int RowScaleBytes() { return kRows * 4; }
  static constexpr int SharedBytes(int element_bytes, int stages) {
    return kHeaderBytes + QueryBytes() + stages * StageBytes(element_bytes) + AddressBytes() + RowScaleBytes();
  }
};

// A decode block: up to 16 query heads of one kv head, one granule of keys. Each warp takes every
// kWarps-th run of 16 keys, through a ring of its own.
template <int kDims>
struct DecodeShape {
  static constexpr int kKeys = 16;
  static constexpr int kRows = 16;
  static constexpr int kWarps = kDims > 128 ? 2 : 4;
  static constexpr int kThreads = kWarps * 32;

  static constexpr int StageBytes(int element_bytes) { return 2 * kKeys * kDims * element_bytes; }
  // In a multiprocessor of 228 KiB that is room for two blocks; smaller tiles are more in number,
  // since what is under way must cover the memory's latency.
  static constexpr int Stages(int element_bytes) { return kDims * element_bytes <= 128 ? 6 : 3; }
  static constexpr int SharedBytes(int element_bytes) {
    return kWarps * Stages(element_bytes) * StageBytes(element_bytes);
  }
};

// Kernels for f32: a warp holds kRowsOfWarp query rows.
inline constexpr int kPlainThreads = 128;
inline constexpr int kPlainRowsOfWarp = 4;
inline constexpr int kPlainRows = kPlainThreads / 32 * kPlainRowsOfWarp;
inline constexpr int kPlainKeys = 32;
constexpr int PlainSharedBytes(int dims) {
  return (kPlainRows * dims + kPlainKeys * (2 * dims + 1)) * 4;
}

inline constexpr int kMergeThreads = 256;

// Every kernel of attention that is compiled, for each architecture: the type that is multiplied in,
// kind of the cache, head bucket. Each row stands for a prefill and a decode kernel.
//
// The numbers of an fp8 cache are numbers of f16 as well, and of a weight f16 keeps more than bf16;
// so f16 is what they are multiplied in, whatever the query's type is.
#define WEFT_ATTENTION_INSTANCES(X)                       \
  X(F16, kSame, 64) X(F16, kSame, 128) X(F16, kSame, 256) \
  X(F16, kE4M3, 64) X(F16, kE4M3, 128) X(F16, kE4M3, 256) \
  X(F16, kE5M2, 64) X(F16, kE5M2, 128) X(F16, kE5M2, 256) \
  X(BF16, kSame, 64) X(BF16, kSame, 128) X(BF16, kSame, 256)

// f32 queries, any cache that goes with them; one kernel for prefills and decodes.
#define WEFT_PLAIN_ATTENTION_INSTANCES(X) X(64) X(128) X(256)

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_CONFIG_H_
