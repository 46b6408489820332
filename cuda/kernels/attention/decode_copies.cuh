// SPDX-License-Identifier: Apache-2.0
//
// The way of a decode warp's keys and values from the pages to its ring in shared memory.
//
// A warp takes kKeys keys at a time, a run. Addresses are what costs instructions here, more than
// anything that is done with the keys afterwards; so where a block of the cache holds whole groups
// of 16 rows, mostly, a lane works out the address of one group for a whole granule, once.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_DECODE_COPIES_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_DECODE_COPIES_CUH_

#include <cstdint>

#include "core/plan_tables.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/operand.cuh"
#include "cuda/kernels/attention/pages.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/partial.cuh"
#include "cuda/kernels/attention/ptx.cuh"
#include "cuda/kernels/attention/tiles.cuh"

namespace weft::cuda {

// The runs of a granule that are one warp's: [first, end), in units of kKeys keys from the
// request's first key on. Adjacent parts of the granule are.
template <typename Shape>
struct DecodeRuns {
  int first;
  int end;

  __device__ static DecodeRuns Of(const DecodeWork& work, int warp, int warps) {
    constexpr int kRunsOfGranule = static_cast<int>(kGranule) / Shape::kKeys;
    const int own = kRunsOfGranule / warps;
    const int begin = work.granule * kRunsOfGranule + warp * own;
    return {max(begin, work.keys.begin / Shape::kKeys),
            min(begin + own, (work.keys.end + Shape::kKeys - 1) / Shape::kKeys)};
  }
};

template <typename Op, typename Shape, int kDims>
class DecodeCopies {
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kRowsAtOnce = 32 / Op::kPieces;
  static constexpr int kSideBytes = kKeys * Op::kRowBytes;
  static constexpr int kGroup = 16;  // rows
  static_assert(kKeys % kGroup == 0 && kGroup % kRowsAtOnce == 0);
  static_assert(kGranule / kGroup == 32, "a lane for each group of a granule");

 public:
  // `ring`: this warp's `p.decode_stages` stages, each of keys and then values. `work`: granules,
  // one after the other, of kv head `kv_head`; those without keys come last.
  __device__ DecodeCopies(const AttentionParams& params, uint32_t ring, int kv_head, int warp,
                          int warps, const DecodeWork* work, int num_granules)
      : p(params),
        ring_(ring),
        kv_head_(kv_head),
        lane_(threadIdx.x & 31),
        warp_(warp),
        warps_(warps),
        work_(work),
        num_granules_(num_granules) {
    in_pieces_ = p.key.in_pieces && p.value.in_pieces;
    in_groups_ = in_pieces_ && p.head_size * Op::kElementBytes % kPieceBytes == 0 &&
                 p.block_size % kGroup == 0;
    const int row = lane_ / Op::kPieces;
    const int piece = lane_ % Op::kPieces;
    const RowPiece of_key = MakeRowPiece<Op::kElementBytes>(p.key, p.head_size, piece);
    const RowPiece of_value = MakeRowPiece<Op::kElementBytes>(p.value, p.head_size, piece);
    bytes_ = of_key.bytes;
    key_offset_ = of_key.offset;
    value_offset_ = of_value.offset;
    to_ = PieceOffset<Op::kPieces>(row, piece);
    if (in_groups_ && p.head_size < kDims) ClearPieces();
    Enter();
  }

  // Starts the copies of the next run to `stage`, if there is one, as a group of this thread's.
  // Asynchronous where rows lie in pieces.
  __device__ void Next(int stage) {
    if (granule_ < num_granules_) {
      const uint32_t keys = ring_ + stage * Shape::kStageBytes;
      if (in_groups_ && run_ * kKeys >= keys_.begin && (run_ + 1) * kKeys <= keys_.end) {
        StartGroups(keys);
      } else {
        StartRows(keys, in_groups_ ? BlockIdOfRow() : block_);
      }
      if (++run_ == end_) {
        ++granule_;
        Enter();
      } else if (!in_groups_) {
        block_ = BlockIdOfRow();
      }
    }
    CommitCopies();
  }

 private:
  // To the first run of granule `granule_` or, where this warp has none there, of a later one.
  __device__ void Enter() {
    for (; granule_ < num_granules_; ++granule_) {
      keys_ = work_[granule_].keys;
      const auto runs = DecodeRuns<Shape>::Of(work_[granule_], warp_, warps_);
      run_ = runs.first;
      end_ = runs.end;
      if (run_ < end_) break;
    }
    if (granule_ == num_granules_) return;
    if (!in_groups_) {
      block_ = BlockIdOfRow();
      return;
    }
    const int32_t block = granule_ == next_granule_ ? block_ : BlockIdOfGroup(granule_);
    group_ = FindAddress(p, block, FirstKeyOfGroup(granule_), kv_head_);
    next_granule_ = granule_ + 1;
    block_ = next_granule_ < num_granules_ ? BlockIdOfGroup(next_granule_) : -1;
  }

  // Lane l looks after group l of a granule,
  __device__ int FirstKeyOfGroup(int granule) const {
    return (work_[granule].granule * 32 + lane_) * kGroup;
  }
  __device__ int32_t BlockIdOfGroup(int granule) const {
    const KeyRange& keys = work_[granule].keys;
    const int key = FirstKeyOfGroup(granule);
    return key + kGroup > keys.begin && key < keys.end ? LoadBlockId(p, keys.first_block, key) : -1;
  }
  // and after key l % kKeys of a run.
  __device__ int KeyOfRow() const { return run_ * kKeys + lane_ % kKeys; }
  __device__ int32_t BlockIdOfRow() const { return FindBlockId(p, keys_, KeyOfRow()); }

  // Pieces that no group has.
  __device__ void ClearPieces() const {
    if (bytes_ != 0) return;
    const int rows = static_cast<int>(p.decode_stages) * 2 * kKeys;
    for (int row = 0; row < rows; row += kRowsAtOnce)
      ClearSharedPiece(ring_ +
                       PieceOffset<Op::kPieces>(row + lane_ / Op::kPieces, lane_ % Op::kPieces));
  }

  // All rows of a run.
  __device__ void StartGroups(uint32_t keys) const {
    const uint64_t policy = ReadOncePolicy();
    const int row_of_lane = lane_ / Op::kPieces;
    const int64_t key_step = kRowsAtOnce * p.key.token_stride;
    const int64_t value_step = kRowsAtOnce * p.value.token_stride;
    const uint32_t to_lane = keys + to_;
#pragma unroll
    for (int first = 0; first < kKeys; first += kGroup) {
      const int from = (run_ * (kKeys / kGroup) + first / kGroup) % 32;
      uint64_t key =
          __shfl_sync(~0u, group_.key, from) + key_offset_ + row_of_lane * p.key.token_stride;
      uint64_t value =
          __shfl_sync(~0u, group_.value, from) + value_offset_ + row_of_lane * p.value.token_stride;
      if (bytes_ == 0) continue;
#pragma unroll
      for (int row = 0; row < kGroup; row += kRowsAtOnce) {
        // The twist of a sum of rows without a bit in common is that of both.
        const uint32_t to =
            (to_lane ^ static_cast<uint32_t>(Twist<Op::kPieces>(row) * kPieceBytes)) +
            (first + row) * Op::kRowBytes;
        CopyPieceAsync(to, key, policy);
        CopyPieceAsync(to + kSideBytes, value, policy);
        key += key_step;
        value += value_step;
      }
    }
  }

  // The rows of a run that are to be copied, wherever they lie; the others become 0.
  __device__ void StartRows(uint32_t keys, int32_t block) const {
    const TokenAddress own = FindAddress(p, block, KeyOfRow(), kv_head_);
    const uint64_t policy = ReadOncePolicy();
#pragma unroll 1
    for (int i = 0; i < kKeys; i += kRowsAtOnce) {
      const int row = i + lane_ / Op::kPieces;
      const uint64_t key = __shfl_sync(~0u, own.key, row);
      const uint64_t value = __shfl_sync(~0u, own.value, row);
      const uint32_t to = keys + PieceOffset<Op::kPieces>(row, lane_ % Op::kPieces);
      if (in_pieces_) {
        const uint32_t bytes = key == 0 ? 0 : bytes_;
        CopyAsync(to, key + key_offset_, bytes, policy);
        CopyAsync(to + kSideBytes, value + value_offset_, bytes, policy);
      } else {
        const int piece = lane_ % Op::kPieces;
        GatherPiece<Op::kElementBytes>(to, key, p.key, p.head_size, piece);
        GatherPiece<Op::kElementBytes>(to + kSideBytes, value, p.value, p.head_size, piece);
      }
    }
  }

  const AttentionParams& p;
  const uint32_t ring_;
  const int kv_head_;
  const int lane_;
  const int warp_;
  const int warps_;
  const DecodeWork* const work_;
  const int num_granules_;
  bool in_pieces_;  // rows lie in pieces
  bool in_groups_;  // whole ones, and groups of kGroup rows in one block each
  // Of this lane's piece: where it lies behind a row's first element, its bytes, and its place
  // behind the first row at once.
  int64_t key_offset_;
  int64_t value_offset_;
  uint32_t bytes_;
  uint32_t to_;
  // The next run, the granule's last one, and the keys that are copied of it.
  int granule_ = 0;
  int run_ = 0;
  int end_ = 0;
  KeyRange keys_ = {};
  // In groups: the addresses of the granule's, and the block ids of granule `next_granule_`, which
  // are loaded one granule ahead. Else: the block ids of the next run's rows.
  TokenAddress group_ = {};
  int next_granule_ = -1;
  int32_t block_ = -1;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_DECODE_COPIES_CUH_
