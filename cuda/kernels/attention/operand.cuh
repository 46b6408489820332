// SPDX-License-Identifier: Apache-2.0
//
// Tiles of keys and values in shared memory, and the fragments of mma.sync that are read from them.
//
// A tile holds rows (tokens) of kDims elements in pieces of 16 bytes. Piece i of row r stands at
// piece i ^ Twist(r), so that the eight rows of a matrix lie in different banks.
//
// An fp8 tile stays fp8 in shared memory and is widened, exactly, as it is read. ldmatrix moves
// pairs of codes where it would move 16-bit numbers; so that nothing has to be exchanged between
// lanes, dimensions are taken in another order than they lie: for the product with the query that
// order is given to the query (QueryPosition), for the product with the weights it is undone when
// results are stored (ValueDim).
#ifndef WEFT_CUDA_KERNELS_ATTENTION_OPERAND_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_OPERAND_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>
#include <type_traits>

#include "cuda/kernels/attention/ptx.cuh"

namespace weft::cuda {

// What a cache's elements are beside the type that is computed in.
enum class KvKind { kSame, kE4M3, kE5M2 };

inline constexpr int kPieceBytes = 16;

template <int kPieces>
__device__ inline int Twist(int row) {
  static_assert(kPieces >= 4 && kPieces % 4 == 0);
  return kPieces >= 8 ? row & 7 : (row >> 1) & 3;
}

// Bytes from a tile's beginning to a piece.
template <int kPieces>
__device__ inline uint32_t PieceOffset(int row, int piece) {
  return static_cast<uint32_t>((row * kPieces + (piece ^ Twist<kPieces>(row))) * kPieceBytes);
}

// The address of piece i + 2 * pairs of a row, from that of piece i < 2. A tile begins at a
// multiple of a row's bytes, so that the twist is an exclusive or of addresses.
__device__ inline uint32_t NextPieces(uint32_t address, int pairs) {
  return address ^ static_cast<uint32_t>(pairs * 2 * kPieceBytes);
}

// Codes 0 and 1 of the low half of `codes` as halves.
template <KvKind kKind>
__device__ inline uint32_t WidenPair(uint32_t codes) {
  const __half2_raw raw = __nv_cvt_fp8x2_to_halfraw2(
      static_cast<__nv_fp8x2_storage_t>(codes), kKind == KvKind::kE4M3 ? __NV_E4M3 : __NV_E5M2);
  return *reinterpret_cast<const uint32_t*>(&raw);
}

// A power of two that the numbers of a row are divided by before they become halves, so that the
// largest of them, `size`, comes below 2^15 and as little as possible of the others is lost: all
// but what is 2^38 times smaller. 1 for a row of zeros, infinities or NaN.
__device__ inline float RowScale(float size) {
  const int exponent = static_cast<int>(__float_as_uint(size) >> 23) - 127;
  if (!(size > 0.0f) || exponent > 127) return 1.0f;
  return __uint_as_float(static_cast<uint32_t>(max(exponent - 14, -126) + 127) << 23);
}

// A pair of bfloat16: the larger magnitude, and the two as halves, times `factor`.
__device__ inline float PairSize(uint32_t pair) {
  return fmaxf(fabsf(__uint_as_float(pair << 16)), fabsf(__uint_as_float(pair & 0xffff0000u)));
}
__device__ inline uint32_t HalvesOfPair(uint32_t pair, float factor) {
  return PackPair<__half>(__uint_as_float(pair << 16) * factor,
                          __uint_as_float(pair & 0xffff0000u) * factor);
}

// What kernels for numbers of type T (__half or __nv_bfloat16) over a cache of `kKind` read.
template <typename T, KvKind kKind, int kDims>
struct Operands {
  static_assert(kKind == KvKind::kSame || std::is_same_v<T, __half>);
  static constexpr int kElementBytes = kKind == KvKind::kSame ? 2 : 1;
  static constexpr int kPieces = kDims * kElementBytes / kPieceBytes;  // of a row
  static constexpr int kRowBytes = kDims * kElementBytes;
  // Steps of 16 dimensions (of the inner dimension of a product) in one LoadKeys.
  static constexpr int kSteps = 2 / kElementBytes;
  static constexpr int kKeyLoads = kDims / (16 * kSteps);
  // Tiles of 8 dimensions (of a product's columns) in one LoadValues.
  static constexpr int kValueTiles = 2 * kSteps;
  static constexpr int kValueLoads = kDims / (8 * kValueTiles);

  // Where a lane reads keys and values in a tile, but for NextPieces and whole groups of 16 rows.
  __device__ static uint32_t KeyLane() {
    const int lane = threadIdx.x & 31;
    return PieceOffset<kPieces>(((lane >> 4) << 3) + (lane & 7), (lane >> 3) & 1);
  }
  __device__ static uint32_t ValueLane() {
    const int lane = threadIdx.x & 31;
    return PieceOffset<kPieces>((((lane >> 3) & 1) << 3) + (lane & 7), lane >> 4);
  }

  // Fragments of 16 keys from `key` on (a multiple of 16), for the steps of load `load`:
  // b[step][keys / 8]. `lane` is the tile's address and KeyLane().
  __device__ static void LoadKeys(uint32_t lane, int key, int load, uint32_t (&b)[kSteps][2][2]) {
    uint32_t r[4];
    LoadMatrices(NextPieces(lane, load) + key * kRowBytes, r);
    if constexpr (kKind == KvKind::kSame) {
      b[0][0][0] = r[0];
      b[0][0][1] = r[1];
      b[0][1][0] = r[2];
      b[0][1][1] = r[3];
    } else {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        b[m & 1][m >> 1][0] = WidenPair<kKind>(r[m]);
        b[m & 1][m >> 1][1] = WidenPair<kKind>(r[m] >> 16);
      }
    }
  }

  // Fragments of 16 values from `key` on, for the column tiles of load `load`: b[tile]. `lane` is
  // the tile's address and ValueLane().
  __device__ static void LoadValues(uint32_t lane, int key, int load,
                                    uint32_t (&b)[kValueTiles][2]) {
    uint32_t r[4];
    LoadTransposed(NextPieces(lane, load) + key * kRowBytes, r);
    if constexpr (kKind == KvKind::kSame) {
      b[0][0] = r[0];
      b[0][1] = r[1];
      b[1][0] = r[2];
      b[1][1] = r[3];
    } else {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        // Codes of two neighbouring dimensions of one key, and the same of the next key.
        const int pair = (m >> 1) * 2;
        b[pair][m & 1] = WidenPair<kKind>(__byte_perm(r[m], 0, 0x4420));
        b[pair + 1][m & 1] = WidenPair<kKind>(__byte_perm(r[m], 0, 0x4431));
      }
    }
  }

  // The same as left operands, for decodes: rows are keys, or dimensions of values.
  __device__ static uint32_t LeftKeyLane() {
    const int lane = threadIdx.x & 31;
    return PieceOffset<kPieces>((((lane >> 3) & 1) << 3) + (lane & 7), lane >> 4);
  }
  __device__ static void LoadLeftKeys(uint32_t lane, int key, int load, uint32_t (&a)[kSteps][4]) {
    uint32_t r[4];
    LoadMatrices(NextPieces(lane, load) + key * kRowBytes, r);
    if constexpr (kKind == KvKind::kSame) {
#pragma unroll
      for (int m = 0; m < 4; ++m) a[0][m] = r[m];
    } else {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        a[m >> 1][m & 1] = WidenPair<kKind>(r[m]);
        a[m >> 1][2 + (m & 1)] = WidenPair<kKind>(r[m] >> 16);
      }
    }
  }
  __device__ static uint32_t LeftValueLane() {
    const int lane = threadIdx.x & 31;
    return PieceOffset<kPieces>(((lane >> 4) << 3) + (lane & 7), (lane >> 3) & 1);
  }
  // a[i] are rows of 16 dimensions; which, says LeftValueDim.
  __device__ static void LoadLeftValues(uint32_t lane, int key, int load,
                                        uint32_t (&a)[kSteps][4]) {
    uint32_t r[4];
    LoadTransposed(NextPieces(lane, load) + key * kRowBytes, r);
    if constexpr (kKind == KvKind::kSame) {
#pragma unroll
      for (int m = 0; m < 4; ++m) a[0][m] = r[m];
    } else {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        a[m & 1][(m >> 1) * 2] = WidenPair<kKind>(__byte_perm(r[m], 0, 0x4420));
        a[m & 1][(m >> 1) * 2 + 1] = WidenPair<kKind>(__byte_perm(r[m], 0, 0x4431));
      }
    }
  }
  // The dimension of row lane / 4 (half 0) or that + 8 (half 1) of the d-th 16 dimensions.
  __device__ static int LeftValueDim(int d, int half) {
    const int g = (threadIdx.x & 31) >> 2;
    return kKind == KvKind::kSame ? d * 16 + half * 8 + g : d * 16 + g * 2 + half;
  }

  // Where dimension d of a query stands in the tile of queries. Pairs (d even) stay together.
  __device__ static constexpr int QueryPosition(int d) {
    if (kKind == KvKind::kSame) return d;
    const int within = d & 15;
    return (d & ~15) + ((within & 2) << 2) + ((within >> 2) << 1) + (within & 1);
  }

  // A lane's four sums of column tiles 2q and 2q + 1, for one row, belong to two pairs of adjacent
  // dimensions: pair i begins at ValueDim(q, i).
  __device__ static int ValueDim(int q, int i) {
    const int t = threadIdx.x & 3;
    return kKind == KvKind::kSame ? q * 16 + i * 8 + t * 2 : q * 16 + t * 4 + i * 2;
  }
  // The pair's sums, of row `half` (0: lane / 4, 1: that + 8).
  __device__ static float2 ValuePair(const float (&even)[4], const float (&odd)[4], int i,
                                     int half) {
    if (kKind == KvKind::kSame) {
      return i == 0 ? make_float2(even[half * 2], even[half * 2 + 1])
                    : make_float2(odd[half * 2], odd[half * 2 + 1]);
    }
    return make_float2(even[half * 2 + i], odd[half * 2 + i]);
  }
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_OPERAND_CUH_
