// SPDX-License-Identifier: Apache-2.0
//
// The way of a prefill block's queries to shared memory.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_PREFILL_QUERIES_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_PREFILL_QUERIES_CUH_

#include <cstdint>
#include <type_traits>

#include "cuda/kernels/attention/operand.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/prefill_block.cuh"
#include "cuda/kernels/attention/ptx.cuh"
#include "cuda/kernels/element.cuh"

namespace weft::cuda {

template <typename T, KvKind kKind, int kDims>
class PrefillQueries {
  using Block = PrefillBlock<T, kKind, kDims>;
  using Shape = typename Block::Shape;
  using Op = typename Block::Op;
  static constexpr int kQueryPieces = Block::kQueryPieces;
  static constexpr int kRowsOfWarp = Block::kRowsOfWarp;

 public:
  __device__ PrefillQueries(const AttentionParams& params, const Block& block)
      : p(params), block_(block) {}

  // The queries' rows as they are, to shared memory; not waited for. A warp copies its own.
  __device__ bool Copy() const {
    constexpr ElementType kOwn = std::is_same_v<T, __half> ? ElementType::kF16 : ElementType::kBF16;
    if (kKind != KvKind::kSame || !p.query_in_pieces || p.query_type != kOwn) return false;
    const int piece = Block::Lane() % kQueryPieces;
    const bool inside = piece * 8 < static_cast<int>(p.head_size);
    const uint64_t of_lane = block_.QueryRow(Block::RowOfLane());
#pragma unroll 4
    for (int i = 0; i < kRowsOfWarp; i += Block::kRowsAtOnce) {
      const int of_warp = i + Block::Lane() / kQueryPieces;
      const int row = Block::FirstRowOfWarp() + of_warp;
      const uint64_t from = __shfl_sync(~0u, of_lane, of_warp);
      CopyAsync(block_.Queries() + PieceOffset<kQueryPieces>(row, piece),
                from + piece * kPieceBytes,
                inside && row < block_.header().num_rows ? kPieceBytes : 0);
    }
    return true;
  }

  // The block's queries to shared memory as T, in the order that the cache's kind wants, rows and
  // dimensions that are not there as 0.
  __device__ void Convert() const {
    constexpr int kAhead = 4;  // rows whose loads are under way together
    const int piece = threadIdx.x % kQueryPieces;
    for (int i = 0; i < Shape::kRows * kQueryPieces / Shape::kThreads; i += kAhead) {
      uint32_t pairs[kAhead][4];
#pragma unroll
      for (int j = 0; j < kAhead; ++j) LoadQueryPiece(RowOfPass(i + j), piece * 8, pairs[j]);
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        const int row = RowOfPass(i + j);
        if (kKind != KvKind::kSame && p.query_type == ElementType::kBF16) MakeHalves(row, pairs[j]);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const int at = Op::QueryPosition(piece * 8 + 2 * k);
          const uint32_t to =
              block_.Queries() + PieceOffset<kQueryPieces>(row, at / 8) + at % 8 * 2;
          StoreShared(to, pairs[j][k]);
        }
      }
    }
  }

 private:
  __device__ static int RowOfPass(int pass) {
    return (pass * Shape::kThreads + static_cast<int>(threadIdx.x)) / kQueryPieces;
  }

  // Eight dimensions as pairs of bfloat16 if the query is, else of T.
  __device__ void LoadQueryPiece(int row, uint32_t dim, uint32_t (&pairs)[4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) pairs[j] = 0;
    if (row >= block_.header().num_rows || dim >= p.head_size) return;
    const uint64_t from = block_.QueryRow(row);
    const uint32_t bytes = ElementBytes(p.query_type);
    if (p.query_in_pieces && bytes == 2) {
      const uint4 whole = __ldg(reinterpret_cast<const uint4*>(from + dim * 2));
      pairs[0] = whole.x;
      pairs[1] = whole.y;
      pairs[2] = whole.z;
      pairs[3] = whole.w;
      return;
    }
    const bool wide = std::is_same_v<T, __nv_bfloat16> || p.query_type == ElementType::kBF16;
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
      const uint32_t d = dim + 2 * j;
      const float low = d < p.head_size ? LoadElement(p.query_type, from + d * bytes) : 0.0f;
      const float high =
          d + 1 < p.head_size ? LoadElement(p.query_type, from + (d + 1) * bytes) : 0.0f;
      pairs[j] = wide ? PackPair<__nv_bfloat16>(low, high) : PackPair<__half>(low, high);
    }
  }

  // A piece of bfloat16 becomes halves times a power of two; the lanes that hold the row take part.
  __device__ void MakeHalves(int row, uint32_t (&pairs)[4]) const {
    float size = 0.0f;
#pragma unroll
    for (int k = 0; k < 4; ++k) size = fmaxf(size, PairSize(pairs[k]));
#pragma unroll
    for (int lane = kQueryPieces / 2; lane > 0; lane /= 2)
      size = fmaxf(size, __shfl_xor_sync(~0u, size, lane));
    const float scale = RowScale(size);
    const float inverse = 1.0f / scale;
#pragma unroll
    for (int k = 0; k < 4; ++k) pairs[k] = HalvesOfPair(pairs[k], inverse);
    if (threadIdx.x % kQueryPieces == 0) block_.RowScales()[row] = scale;
  }

  const AttentionParams& p;
  const Block& block_;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_PREFILL_QUERIES_CUH_
