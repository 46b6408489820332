// SPDX-License-Identifier: Apache-2.0
//
// One granule of one decode row, for up to 16 query heads of one kv head: its state (largest logit,
// sum of weights, weighted sum of values) goes to the workspace, for merge.cu.
//
// Grid: splits x kv heads x chunks (of 16 query heads, where a group has more), heads faster than
// splits, so that blocks that read the same pages run together.
// Block: DecodeShape. Each warp walks its own runs of 16 keys through its own ring of tiles in
// shared memory, so that nothing but the end needs a barrier. Fragments have 16 rows, and a group
// of 4 heads fills 4: memory is what bounds a decode, the products have time to spare.
// Bytes: the granule's keys and values once, the queries once; head_size + 2 floats for each head.
// Loop: before run i, copies of runs i .. i + kStages - 2 have been started and that of i has
// arrived; the block id for run i + kStages - 1 is in a register.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_DECODE_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_DECODE_CUH_

#include <cstdint>

#include "core/plan_tables.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/operand.cuh"
#include "cuda/kernels/attention/output.cuh"
#include "cuda/kernels/attention/pages.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/ptx.cuh"

namespace weft::cuda {

// Where the state of (partial, head) stands.
__device__ inline float* PartialSum(const AttentionParams& p, int64_t partial, int head) {
  return reinterpret_cast<float*>(p.partial_sums) +
         (partial * p.num_heads + head) * int64_t{p.head_size};
}
// Its largest logit and its sum of weights; a multiple of 4 bytes, not of 8, where sums before it
// are odd in number.
__device__ inline float* PartialStats(const AttentionParams& p, int64_t partial, int head) {
  return reinterpret_cast<float*>(p.partial_stats) + (partial * p.num_heads + head) * 2;
}
__device__ inline void StoreStats(const AttentionParams& p, int64_t partial, int head, float max,
                                  float sum) {
  float* stats = PartialStats(p, partial, head);
  stats[0] = max;
  stats[1] = sum;
}

// A granule of a decode row, as a block of threads finds it.
struct DecodeWork {
  int row;
  int position;
  int first_block;
  int partial;
  int begin;  // keys that the row sees of the granule
  int end;
  int first_key;  // of the granule
  int kv_head;
  int first_head;  // query heads of this block
  int num_heads;
};

// False: nothing to do (an entry that only fills up a table).
__device__ inline bool FindDecodeWork(const AttentionParams& p, int heads_of_block,
                                      DecodeWork& work) {
  const uint32_t heads_and_chunks = p.num_kv_heads * p.chunks;
  const uint32_t index = blockIdx.x / heads_and_chunks;
  const uint32_t rest = blockIdx.x - index * heads_and_chunks;
  const uint32_t chunk = rest / p.num_kv_heads;
  work.kv_head = static_cast<int>(rest - chunk * p.num_kv_heads);
  const int in_group = static_cast<int>(chunk) * heads_of_block;
  work.first_head = work.kv_head * static_cast<int>(p.group_size) + in_group;
  work.num_heads = min(static_cast<int>(p.group_size) - in_group, heads_of_block);
  const int2 split = __ldg(reinterpret_cast<const int2*>(p.decode_splits) + index);
  if (split.x < 0) return false;
  const int4* decode_row = reinterpret_cast<const int4*>(p.decode_rows) + 2 * int64_t{split.x};
  const int4 row = __ldg(decode_row);
  const int4 keys = __ldg(decode_row + 1);
  work.row = row.x;
  work.position = row.y;
  work.first_block = row.z;
  work.partial = row.w + split.y - keys.y;
  const VisibleKeys seen = VisibleKeys::Of(p, row.y, keys.x);
  work.first_key = split.y * static_cast<int>(kGranule);
  work.begin = max(seen.first, work.first_key);
  work.end =
      min(seen.first + static_cast<int>(seen.count), work.first_key + static_cast<int>(kGranule));
  return true;
}

template <typename T, KvKind kKind, int kDims>
class Decode {
  using Shape = DecodeShape<kDims>;
  using Op = Operands<T, kKind, kDims>;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kStages = Shape::Stages(Op::kElementBytes);
  static constexpr int kTileBytes = kKeys * Op::kRowBytes;
  static constexpr int kWarpBytes = kStages * 2 * kTileBytes;
  static constexpr int kRowsAtOnce = 32 / Op::kPieces;
  static_assert(kWarpBytes >= Shape::kRows * kDims * 4, "holds the warp's sums in the end");

 public:
  __device__ Decode(const AttentionParams& params, uint8_t* shared)
      : p(params), shared_(shared), lane_(threadIdx.x & 31), warp_(threadIdx.x / 32) {}

  __device__ void Run() {
    if (!FindDecodeWork(p, Shape::kRows, work_)) return;
    ring_ = SharedAddress(shared_) + warp_ * kWarpBytes;
    const int piece = lane_ % Op::kPieces;
    key_piece_ = MakeRowPiece<Op::kElementBytes>(p.key, p.head_size, piece);
    value_piece_ = MakeRowPiece<Op::kElementBytes>(p.value, p.head_size, piece);
    scale_ = LogitScale::Of(p, work_.kv_head);
    softmax_.Start();
#pragma unroll
    for (int d = 0; d < kDims / 8; ++d) {
#pragma unroll
      for (int e = 0; e < 4; ++e) out_[0][d][e] = 0.0f;
    }
    Walk();
    Merge();
  }

 private:
  // Runs of 16 keys, counted from the granule's first; this warp's are those of its own remainder.
  __device__ void Walk() {
    const int first = (work_.begin - work_.first_key) / kKeys;
    const int last = (work_.end - 1 - work_.first_key) / kKeys;
    int run = first + (warp_ + Shape::kWarps - first % Shape::kWarps) % Shape::kWarps;
    int32_t block = BlockIdOf(run);
    int ahead = run;  // the next run to be copied, of which `block` is known
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) {
      if (ahead <= last) StartCopies(ahead, block, i);
      CommitCopies();
      ahead += Shape::kWarps;
      block = BlockIdOf(ahead);
    }
    LoadQueries();
    int stage = 0;
    for (; run <= last; run += Shape::kWarps) {
      AwaitCopies<kStages - 2>();
      __syncwarp();
      // Into the stage that the step before has read.
      if (ahead <= last) StartCopies(ahead, block, stage == 0 ? kStages - 1 : stage - 1);
      CommitCopies();
      ahead += Shape::kWarps;
      block = BlockIdOf(ahead);
      Step(run, stage);
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    AwaitCopies<0>();
  }

  __device__ int KeyOf(int run) const { return work_.first_key + run * kKeys + (lane_ & 15); }

  // The block id of key lane % 16 of a run.
  __device__ int32_t BlockIdOf(int run) const {
    const int key = KeyOf(run);
    return key >= work_.begin && key < work_.end ? LoadBlockId(p, work_.first_block, key) : -1;
  }

  __device__ void StartCopies(int run, int32_t block, int stage) const {
    const TokenAddress own = block < 0 ? TokenAddress{0, 0} : Locate(p, block, KeyOf(run),
                                                                    work_.kv_head);
    const uint32_t keys = ring_ + stage * 2 * kTileBytes;
    const uint32_t values = keys + kTileBytes;
    const int piece = lane_ % Op::kPieces;
    if (p.key.in_pieces && p.value.in_pieces) {
#pragma unroll
      for (int i = 0; i < kKeys / kRowsAtOnce; ++i) {
        const int row = i * kRowsAtOnce + lane_ / Op::kPieces;
        const uint64_t key = __shfl_sync(~0u, own.key, row);
        const uint64_t value = __shfl_sync(~0u, own.value, row);
        const uint32_t to = PieceOffset<Op::kPieces>(row, piece);
        CopyAsync(keys + to, key + key_piece_.offset, key == 0 ? 0 : key_piece_.bytes);
        CopyAsync(values + to, value + value_piece_.offset, key == 0 ? 0 : value_piece_.bytes);
      }
      return;
    }
#pragma unroll 1
    for (int i = 0; i < kKeys / kRowsAtOnce; ++i) {
      const int row = i * kRowsAtOnce + lane_ / Op::kPieces;
      const uint64_t key = __shfl_sync(~0u, own.key, row);
      const uint64_t value = __shfl_sync(~0u, own.value, row);
      const uint32_t to = PieceOffset<Op::kPieces>(row, piece);
      GatherPiece<Op::kElementBytes>(keys + to, key, p.key, p.head_size, piece);
      GatherPiece<Op::kElementBytes>(values + to, value, p.value, p.head_size, piece);
    }
  }

  // Fragments of the queries, in registers for the whole walk. Rows that are not there are 0.
  __device__ void LoadQueries() {
    const uint32_t bytes = ElementBytes(p.query_type);
    const bool wide = std::is_same_v<T, __nv_bfloat16> || p.query_type == ElementType::kBF16;
#pragma unroll
    for (int k = 0; k < kDims / 16; ++k) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int head = lane_ / 4 + (r & 1) * 8;
        const uint32_t dim = DimAt(k * 16 + (r >> 1) * 8 + (lane_ & 3) * 2);
        query_[k][r] = 0;
        if (head >= work_.num_heads || dim >= p.head_size) continue;
        const uint64_t at = RowAddress(p.query, work_.row, work_.first_head + head) + dim * bytes;
        if (p.query_in_pieces && bytes == 2) {
          query_[k][r] = __ldg(reinterpret_cast<const uint32_t*>(at));
          continue;
        }
        const float low = LoadElement(p.query_type, at);
        const float high = dim + 1 < p.head_size ? LoadElement(p.query_type, at + bytes) : 0.0f;
        query_[k][r] = wide ? PackPair<__nv_bfloat16>(low, high) : PackPair<__half>(low, high);
      }
    }
    factors_[0] = factors_[1] = scale_.factor;
    if (kKind != KvKind::kSame && p.query_type == ElementType::kBF16) MakeHalves();
  }

  // Queries of bfloat16 become halves times a power of two.
  __device__ void MakeHalves() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float size = 0.0f;
#pragma unroll
      for (int k = 0; k < kDims / 16; ++k)
        size = fmaxf(size, fmaxf(PairSize(query_[k][r]), PairSize(query_[k][r + 2])));
      const float scale = RowScale(QuadMax(size));
      const float inverse = 1.0f / scale;
#pragma unroll
      for (int k = 0; k < kDims / 16; ++k) {
        query_[k][r] = HalvesOfPair(query_[k][r], inverse);
        query_[k][r + 2] = HalvesOfPair(query_[k][r + 2], inverse);
      }
      row_scales_[r] = scale;
      if (!scale_.shaped) factors_[r] *= scale;
    }
  }

  // The dimension at a position of the query: the inverse of QueryPosition.
  __device__ static uint32_t DimAt(int position) {
    if (kKind == KvKind::kSame) return position;
    const int within = position & 15;
    return (position & ~15) + ((within & 7) >> 1) * 4 + (within >> 3) * 2;
  }

  __device__ void Step(int run, int stage) {
    const uint32_t keys = ring_ + stage * 2 * kTileBytes;
    float s[1][2][4] = {};
#pragma unroll
    for (int load = 0; load < Op::kKeyLoads; ++load) {
      uint32_t b[Op::kSteps][2][2];
      Op::LoadKeys(keys + Op::KeyLane(), 0, load, b);
#pragma unroll
      for (int step = 0; step < Op::kSteps; ++step) {
        const auto& a = query_[load * Op::kSteps + step];
        MultiplyAdd<T>(s[0][0], a, b[step][0][0], b[step][0][1]);
        MultiplyAdd<T>(s[0][1], a, b[step][1][0], b[step][1][1]);
      }
    }
    const int first_key = work_.first_key + run * kKeys;
    const int base = first_key + (lane_ & 3) * 2;
    if (scale_.shaped) ShapeLogits(base, s);
    if (first_key < work_.begin || first_key + kKeys > work_.end) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = base + k * 8 + (e & 1);
          if (key < work_.begin || key >= work_.end) s[0][k][e] = MinusInfinity();
        }
      }
    }
    float rescale[2];
    const bool changed = softmax_.Update(s, factors_, rescale);
    if (__any_sync(~0u, changed)) {
#pragma unroll
      for (int d = 0; d < kDims / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out_[0][d][e] *= rescale[e >> 1];
      }
    }
    uint32_t a[4];
    WeightFragment<T>(s, 0, 0, a);
#pragma unroll
    for (int load = 0; load < Op::kValueLoads; ++load) {
      uint32_t b[Op::kValueTiles][2];
      Op::LoadValues(keys + kTileBytes + Op::ValueLane(), 0, load, b);
#pragma unroll
      for (int i = 0; i < Op::kValueTiles; ++i)
        MultiplyAdd<T>(out_[0][load * Op::kValueTiles + i], a, b[i][0], b[i][1]);
    }
  }

  __device__ void ShapeLogits(int base, float (&s)[1][2][4]) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int head = min(lane_ / 4 + r * 8, work_.num_heads - 1);
      const float slope = LoadOptional(p.alibi_slopes, work_.first_head + head, 0.0f);
#pragma unroll
      for (int k = 0; k < 2; ++k) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& logit = s[0][k][r * 2 + e];
          logit = scale_.Shape(p, logit * row_scales_[r], slope,
                               static_cast<float>(base + k * 8 + e - work_.position));
        }
      }
    }
  }

  // The warps' states, merged in their order, to the workspace.
  __device__ void Merge() {
    __shared__ float2 stats[Shape::kWarps][Shape::kRows];
    // A warp's sums take the place of its ring, which no other warp reads.
    auto* sums = reinterpret_cast<float*>(shared_);
    constexpr int kWarpFloats = kWarpBytes / 4;
    __syncwarp();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int head = lane_ / 4 + r * 8;
      const float sum = QuadSum(softmax_.sum[r]);
      if (head >= work_.num_heads) continue;
      if ((lane_ & 3) == 0)
        stats[warp_][head] = make_float2(softmax_.Origin(r, factors_[r]), sum);
      float* row = sums + warp_ * kWarpFloats + head * kDims;
#pragma unroll
      for (int q = 0; q < kDims / 16; ++q) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
          *reinterpret_cast<float2*>(row + Op::ValueDim(q, i)) =
              Op::ValuePair(out_[0][2 * q], out_[0][2 * q + 1], i, r);
      }
    }
    __syncthreads();
    const int dims = static_cast<int>(p.head_size);
    for (int i = threadIdx.x; i < work_.num_heads * kDims; i += Shape::kThreads) {
      const int head = i / kDims;
      const int dim = i % kDims;
      if (dim >= dims) continue;
      float max = stats[0][head].x;
#pragma unroll
      for (int w = 1; w < Shape::kWarps; ++w) max = fmaxf(max, stats[w][head].x);
      const float origin = max == MinusInfinity() ? 0.0f : max;
      float total = 0.0f;
      float weighted = 0.0f;
#pragma unroll
      for (int w = 0; w < Shape::kWarps; ++w) {
        // Of a warp that saw nothing: 0.
        const float factor = Exp2(stats[w][head].x - origin);
        total = fmaf(factor, stats[w][head].y, total);
        weighted = fmaf(factor, sums[w * kWarpFloats + head * kDims + dim], weighted);
      }
      PartialSum(p, work_.partial, work_.first_head + head)[dim] = weighted;
      if (dim == 0) StoreStats(p, work_.partial, work_.first_head + head, max, total);
    }
  }

  const AttentionParams& p;
  uint8_t* shared_;
  int lane_;
  int warp_;
  DecodeWork work_;
  uint32_t ring_;
  RowPiece key_piece_;
  RowPiece value_piece_;
  LogitScale scale_;
  float row_scales_[2] = {1.0f, 1.0f};
  float factors_[2];
  RunningSoftmax<1> softmax_;
  uint32_t query_[kDims / 16][4];
  float out_[1][kDims / 8][4];
};

template <typename T, KvKind kKind, int kDims>
__global__ void __launch_bounds__(DecodeShape<kDims>::kThreads)
    DecodeKernel(const __grid_constant__ AttentionParams params) {
  extern __shared__ __align__(1024) uint8_t shared[];
  Decode<T, kKind, kDims>(params, shared).Run();
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_DECODE_CUH_
