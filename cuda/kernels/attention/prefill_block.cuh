// SPDX-License-Identifier: Apache-2.0
//
// What a block of threads of a prefill knows of itself: its tile and rows, what is walked, and
// where things stand in its shared memory.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_PREFILL_BLOCK_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_PREFILL_BLOCK_CUH_

#include <cstdint>

#include "core/plan_tables.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/operand.cuh"
#include "cuda/kernels/attention/output.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/ptx.cuh"
#include "cuda/kernels/attention/tiles.cuh"

namespace weft::cuda {

template <typename T, KvKind kKind, int kDims>
class PrefillBlock {
 public:
  using Shape = PrefillShape<kDims>;
  using Op = Operands<T, kKind, kDims>;
  using TilesOf = Tiles<Op, Shape::kKeys, Shape::kThreads>;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kQueryPieces = kDims * 2 / kPieceBytes;
  static constexpr int kRowsOfWarp = Shape::kRowTiles * 16;
  // Rows that a warp moves at once, in pieces.
  static constexpr int kRowsAtOnce = 32 / kQueryPieces;

  // In shared memory, since registers are what a prefill is short of.
  struct Header {
    PrefillTile tile;
    int kv_head;
    int first_row;  // of the tile's rows
    int num_rows;
    int first_token;  // of the walk
    int num_tokens;
    KeyRange keys;
    bool have_queries;
    LogitScale scale;
  };
  static_assert(sizeof(Header) <= Shape::kHeaderBytes);

  __device__ PrefillBlock(const AttentionParams& params, uint8_t* shared)
      : p(params), shared_(shared), header_(*reinterpret_cast<Header*>(shared)) {
    if (threadIdx.x == 0) FillHeader();
    __syncthreads();
  }
  __device__ Header& header() const { return header_; }

  // Row `local` of the block as (token of the tile, query head of the kv head).
  struct RowName {
    int token;
    int head;
  };
  __device__ RowName NameRow(int local) const {
    const auto flat = static_cast<uint32_t>(header_.first_row + local);
    const uint32_t token = Divide(flat, p.by_group_size);
    return {static_cast<int>(token), static_cast<int>(flat - token * p.group_size)};
  }
  __device__ static int Lane() { return threadIdx.x & 31; }
  __device__ static int FirstRowOfWarp() {
    return static_cast<int>(threadIdx.x) / 32 * kRowsOfWarp;
  }
  // Of this thread's row r (RunningSoftmax).
  __device__ static int LocalRow(int r) { return FirstRowOfWarp() + r * 8 + Lane() / 4; }
  // The row that a lane stands for where each does one row's work for all.
  __device__ static int RowOfLane() { return FirstRowOfWarp() + Lane() % kRowsOfWarp; }

  // The tile of queries: the rows of the block, in pieces (PieceOffset).
  __device__ uint8_t* QueryBytes() const { return shared_ + Shape::kHeaderBytes; }
  __device__ uint32_t Queries() const { return SharedAddress(QueryBytes()); }
  // The addresses of the keys of tile n.
  __device__ TokenAddress* Addresses(int n) const {
    return reinterpret_cast<TokenAddress*>(shared_ + Shape::kHeaderBytes + Shape::QueryBytes() +
                                           p.prefill_stages * TilesOf::kTileBytes) +
           (n & 1) * kKeys;
  }
  __device__ float* RowScales() const { return reinterpret_cast<float*>(Addresses(0) + 2 * kKeys); }

  // Changes what is walked next. All threads call it.
  __device__ void SetTokens(int first, int count) const {
    __syncthreads();
    if (threadIdx.x == 0) PutTokens(first, count);
    __syncthreads();
  }

  // What token `token` of the tile sees.
  __device__ VisibleKeys Seen(int token) const {
    return VisibleKeys::Of(p, header_.tile.first_position + token, header_.tile.num_keys);
  }

  __device__ void StoreEmptyRows() const {
    const int warp = threadIdx.x / 32;
    for (int row = warp; row < header_.num_rows; row += Shape::kWarps) {
      const RowName name = NameRow(row);
      StoreEmptyRow(p, header_.tile.first_row + name.token,
                    header_.kv_head * p.group_size + name.head, threadIdx.x & 31, 32);
    }
  }

  // The address of a row of the block; of one that is not there, that of the last.
  __device__ uint64_t QueryRow(int row) const {
    const RowName name = NameRow(min(row, header_.num_rows - 1));
    return RowAddress(p.query, header_.tile.first_row + name.token,
                      header_.kv_head * p.group_size + name.head);
  }
  __device__ uint64_t OutRow(const RowName& name) const {
    return RowAddress(p.out, header_.tile.first_row + name.token,
                      header_.kv_head * p.group_size + name.head);
  }

  // Of tile n of the ring.
  __device__ uint32_t KeyTile(int n) const {
    const uint32_t stage = p.prefill_stages == 2 ? static_cast<uint32_t>(n & 1) : 0;
    return Queries() + Shape::QueryBytes() + stage * TilesOf::kTileBytes;
  }

 private:
  __device__ void FillHeader() const {
    const uint32_t heads_and_chunks = p.num_kv_heads * p.chunks;
    const uint32_t work = blockIdx.x / heads_and_chunks;
    const uint32_t rest = blockIdx.x - work * heads_and_chunks;
    const uint32_t chunk = rest / p.num_kv_heads;
    const int4* tile = reinterpret_cast<const int4*>(p.tiles) + 2 * int64_t{work};
    const int4 rows = __ldg(tile);
    const int4 keys = __ldg(tile + 1);
    header_.tile = {rows.x, rows.y, rows.z, rows.w, keys.x, keys.y, keys.z, 0};
    header_.kv_head = static_cast<int>(rest - chunk * p.num_kv_heads);
    header_.first_row = static_cast<int>(chunk) * Shape::kRows;
    header_.num_rows =
        min(rows.y * static_cast<int>(p.group_size) - header_.first_row, Shape::kRows);
    header_.scale = LogitScale::Of(p, header_.kv_head);
    header_.have_queries = false;
    if (header_.num_rows > 0 && rows.w >= 0) PutTokens(0, rows.y);
  }
  // What is walked next: the keys that these tokens of the tile see.
  __device__ void PutTokens(int first, int count) const {
    const VisibleKeys of_first = Seen(first);
    const VisibleKeys of_last = Seen(first + count - 1);
    header_.first_token = first;
    header_.num_tokens = count;
    header_.keys = {header_.tile.first_block, of_first.first,
                    of_last.first + static_cast<int>(of_last.count)};
  }

  const AttentionParams& p;
  uint8_t* shared_;
  Header& header_;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_PREFILL_BLOCK_CUH_
