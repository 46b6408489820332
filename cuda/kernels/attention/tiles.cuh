// SPDX-License-Identifier: Apache-2.0
//
// The way of a tile of keys and values from the pages to shared memory, by all threads of a block.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_TILES_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_TILES_CUH_

#include <cstdint>

#include "cuda/kernels/attention/operand.cuh"
#include "cuda/kernels/attention/pages.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/ptx.cuh"

namespace weft::cuda {

// The keys of one request that are copied; others become 0: [begin, end).
struct KeyRange {
  int first_block;
  int begin;
  int end;
};

// The block id of `key`; -1: it is not to be copied.
__device__ inline int32_t FindBlockId(const AttentionParams& p, const KeyRange& keys, int key) {
  return key >= keys.begin && key < keys.end ? LoadBlockId(p, keys.first_block, key) : -1;
}
// Where a key of that block lies; 0: nowhere.
__device__ inline TokenAddress FindAddress(const AttentionParams& p, int32_t block, int key,
                                           int kv_head) {
  return block < 0 ? TokenAddress{0, 0} : Locate(p, block, key, kv_head);
}

// Tile n of a request holds its keys [n * kKeys, (n + 1) * kKeys), then their values. Copies are
// started in two steps, with a barrier between them: a thread for each key puts its address into
// shared memory, and all threads read addresses there.
template <typename Op, int kKeys, int kThreads>
struct Tiles {
  static constexpr int kSideBytes = kKeys * Op::kRowBytes;
  static constexpr int kTileBytes = 2 * kSideBytes;
  static constexpr int kRowsAtOnce = kThreads / Op::kPieces;
  static constexpr int kPasses = kKeys / kRowsAtOnce;
  static_assert(kKeys <= kThreads && kKeys % kRowsAtOnce == 0);

  // This thread's part of a tile whose rows are there as a whole: a piece of every
  // kRowsAtOnce-th row.
  struct Share {
    uint32_t to;         // the piece's place in the first of the rows
    uint32_t addresses;  // that row's TokenAddress, in shared memory
    uint32_t offset;     // of the piece in a row
  };
  __device__ static Share ShareOf(uint32_t tile, const TokenAddress* rows) {
    const int piece = threadIdx.x % Op::kPieces;
    const int row = static_cast<int>(threadIdx.x) / Op::kPieces;
    Share share = {tile + PieceOffset<Op::kPieces>(row, piece), SharedAddress(rows + row),
                   static_cast<uint32_t>(piece * kPieceBytes)};
    // Worked out here once. The compiler would do so again for each row to save the registers, in
    // the midst of products that wait for it; worth 4 % of a prefill on an H200.
    asm volatile("" : "+r"(share.to), "+r"(share.addresses), "+r"(share.offset));
    return share;
  }
  // The addresses of row `pass` of a share.
  __device__ static TokenAddress AddressOf(const Share& share, int pass) {
    TokenAddress at;
    LoadSharedPair(
        share.addresses + pass * kRowsAtOnce * static_cast<uint32_t>(sizeof(TokenAddress)), at.key,
        at.value);
    return at;
  }
  // Starts its copies.
  __device__ static void CopyWholeRow(const Share& share, int pass, const TokenAddress& from) {
    static_assert(kRowsAtOnce % 8 == 0, "rows of a share are twisted alike");
    const uint32_t to = share.to + pass * kRowsAtOnce * Op::kRowBytes;
    CopyAsync(to, from.key + share.offset, kPieceBytes);
    CopyAsync(to + kSideBytes, from.value + share.offset, kPieceBytes);
  }
  // All rows at once, as a group of this thread's.
  __device__ static void StartWholeCopies(uint32_t tile, const TokenAddress* rows) {
    const Share share = ShareOf(tile, rows);
#pragma unroll
    for (int i = 0; i < kPasses; ++i) CopyWholeRow(share, i, AddressOf(share, i));
    CommitCopies();
  }

  // Copies to the tile at `tile`, as a group of this thread's. Asynchronous where rows lie in
  // pieces.
  __device__ static void StartCopies(const AttentionParams& p, uint32_t tile,
                                     const TokenAddress* rows) {
    const int piece = threadIdx.x % Op::kPieces;
    const int first = threadIdx.x / Op::kPieces;
    if (p.key.in_pieces && p.value.in_pieces) {
      const RowPiece of_key = MakeRowPiece<Op::kElementBytes>(p.key, p.head_size, piece);
      const RowPiece of_value = MakeRowPiece<Op::kElementBytes>(p.value, p.head_size, piece);
#pragma unroll
      for (int i = 0; i < kPasses; ++i) {
        const int row = i * kRowsAtOnce + first;
        const TokenAddress at = rows[row];
        const uint32_t to = tile + PieceOffset<Op::kPieces>(row, piece);
        CopyAsync(to, at.key + of_key.offset, at.key == 0 ? 0 : of_key.bytes);
        CopyAsync(to + kSideBytes, at.value + of_value.offset, at.key == 0 ? 0 : of_value.bytes);
      }
    } else {
#pragma unroll 1
      for (int i = 0; i < kPasses; ++i) {
        const int row = i * kRowsAtOnce + first;
        const TokenAddress at = rows[row];
        const uint32_t to = tile + PieceOffset<Op::kPieces>(row, piece);
        GatherPiece<Op::kElementBytes>(to, at.key, p.key, p.head_size, piece);
        GatherPiece<Op::kElementBytes>(to + kSideBytes, at.value, p.value, p.head_size, piece);
      }
    }
    CommitCopies();
  }
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_TILES_CUH_
