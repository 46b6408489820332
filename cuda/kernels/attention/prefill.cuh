// SPDX-License-Identifier: Apache-2.0
//
// Attention of a tile of query rows: the tokens of a PrefillTile times the query heads of one kv
// head, which share keys and values. After FlashAttention-2 (arXiv 2307.08691), over pages.
//
// Grid: tiles x kv heads x chunks (of kRows rows, where a tile has more), heads faster than tiles,
// so that blocks that read the same pages run together.
//
// Block: PrefillShape.
//
// Shared memory: the queries (their place takes the output in the end), a ring of `prefill_stages`
// tiles of keys and values, and the addresses of the next tile's rows.
//
// Bytes: the keys and values that the tile sees once (from L2 for all but the first of the tiles
// that run together), the queries and outputs once.
//
// Loop: before step n, all copies of tile n have arrived, those of tile n + 1 may be started, and
// the addresses for them stand in shared memory; rows hold the state of all tiles before n.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_PREFILL_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_PREFILL_CUH_

#include <cstdint>

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/operand.cuh"
#include "cuda/kernels/attention/output.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/prefill_block.cuh"
#include "cuda/kernels/attention/prefill_queries.cuh"
#include "cuda/kernels/attention/ptx.cuh"
#include "cuda/kernels/attention/tiles.cuh"

namespace weft::cuda {

template <typename T, KvKind kKind, int kDims>
class Prefill {
  using Block = PrefillBlock<T, kKind, kDims>;
  using Shape = typename Block::Shape;
  using Op = typename Block::Op;
  using TilesOf = typename Block::TilesOf;
  using RowName = typename Block::RowName;
  static constexpr int kKeys = Block::kKeys;
  static constexpr int kKeyTiles = kKeys / 8;
  static constexpr int kRowTiles = Shape::kRowTiles;
  static constexpr int kQueryPieces = Block::kQueryPieces;
  static constexpr int kRowsOfWarp = Block::kRowsOfWarp;

 public:
  __device__ Prefill(const AttentionParams& params, uint8_t* shared)
      : p(params), block_(params, shared), header_(block_.header()) {}

  __device__ void Run() {
    if (header_.num_rows <= 0) return;
    if (header_.tile.first_block < 0) {
      block_.StoreEmptyRows();
      return;
    }
    // In a product a weight of 0 does not keep out a value of NaN or infinity that another row of
    // the tile sees. Where such a thing came out, each token is taken by itself: then the copies
    // leave out whatever it does not see. The bits of other rows are the same either way.
    while (true) {
      Walk();
      const int count = header_.num_tokens;
      if (count > 1 && __syncthreads_or(HasNonFinite())) {
        block_.SetTokens(0, 1);
        continue;
      }
      const int first = header_.first_token;
      if (count == header_.tile.num_rows && OutInPieces()) {
        StoreByPieces();
        return;
      }
      Store(first, first + count);
      if (first + count == header_.tile.num_rows) return;
      block_.SetTokens(first + count, count);
    }
  }

 private:
  // What row `local` was divided by.
  __device__ float RowScaleOf(int local) const {
    if (kKind == KvKind::kSame || p.query_type != ElementType::kBF16) return 1.0f;
    return block_.RowScales()[local];
  }
  // From logits to units of log2: shaped ones have been multiplied with the row's scale.
  __device__ float FactorOf(int r) const {
    return header_.scale.shaped ? header_.scale.factor
                                : header_.scale.factor * RowScaleOf(Block::LocalRow(r));
  }

  // Of tile n, half of the threads put a key's address each into shared memory, the others a
  // value's.
  static_assert(Shape::kThreads >= 2 * kKeys || Shape::kThreads == kKeys);
  static constexpr bool kSplitAddresses = Shape::kThreads >= 2 * kKeys;
  __device__ static int LocalKey() { return threadIdx.x % kKeys; }
  __device__ int32_t BlockIdOf(int n) const {
    return FindBlockId(p, header_.keys, n * kKeys + LocalKey());
  }
  __device__ void PutAddress(int n, int32_t block) const {
    if (threadIdx.x >= 2 * kKeys) return;
    TokenAddress& slot = block_.Addresses(n)[LocalKey()];
    const int key = n * kKeys + LocalKey();
    if (!kSplitAddresses) {
      slot = FindAddress(p, block, key, header_.kv_head);
    } else if (threadIdx.x < kKeys) {
      slot.key = block < 0 ? 0 : LocateKey(p, block, key, header_.kv_head);
    } else {
      slot.value = block < 0 ? 0 : LocateValue(p, block, key, header_.kv_head);
    }
  }

  __device__ void StartCopies(int n) const {
    TilesOf::StartCopies(p, block_.KeyTile(n), block_.Addresses(n));
  }
  // Whether all keys of tile n are copied, in whole pieces: then copies may be started a few at a
  // time, between products.
  __device__ bool IsWhole(int n) const {
    return n * kKeys >= header_.keys.begin && (n + 1) * kKeys <= header_.keys.end &&
           p.key.in_pieces && p.value.in_pieces && p.head_size == kDims && p.key.run >= kDims &&
           p.value.run >= kDims;
  }

  // The rows' state over the keys of the walk.
  __device__ void Walk() {
    softmax_.Start();
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int d = 0; d < kDims / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out_[m][d][e] = 0.0f;
      }
    }
    const int first = header_.keys.begin / kKeys;
    const int last = (header_.keys.end - 1) / kKeys;
    const int32_t block = BlockIdOf(first);
    const int32_t next = BlockIdOf(first + 1);
    // While these loads are under way.
    const PrefillQueries<T, kKind, kDims> queries(p, block_);
    const bool copied = header_.have_queries || queries.Copy();
    PutAddress(first, block);
    PutAddress(first + 1, next);
    __syncthreads();
    if (IsWhole(first)) {
      TilesOf::StartWholeCopies(block_.KeyTile(first), block_.Addresses(first));
    } else {
      StartCopies(first);
    }
    if (!copied) queries.Convert();
    if (threadIdx.x == 0) header_.have_queries = true;
    for (int n = first; n <= last; ++n) {
      AwaitCopies<0>();
      __syncthreads();
      const bool ahead = p.prefill_stages > 1 && n < last;
      const bool between = ahead && IsWhole(n + 1);
      if (ahead && !between) StartCopies(n + 1);
      const int32_t block = BlockIdOf(n + 2);
      Step(n, between);
      if (between) CommitCopies();
      PutAddress(n + 2, block);
      if (p.prefill_stages == 1) {
        __syncthreads();
        if (n < last) StartCopies(n + 1);
      }
    }
  }

  // `copies`: those of the next tile are started on the way; the caller makes them a group.
  __device__ void Step(int n, bool copies) {
    float s[kRowTiles][kKeyTiles][4];
    Products(n, copies, s);
    const VisibleKeys first = block_.Seen(0);
    const bool all_seen = n * kKeys >= block_.Seen(header_.tile.num_rows - 1).first &&
                          (n + 1) * kKeys <= first.first + static_cast<int>(first.count);
    // Before logits are shaped, so that none that a row does not see takes part in that, and after.
    bool shape = header_.scale.shaped;
    while (true) {
      if (!all_seen) Mask(n * kKeys, s);
      if (!shape) break;
      ShapeLogits(n * kKeys, s);
      shape = false;
    }
    float factors[2 * kRowTiles];
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) factors[r] = FactorOf(r);
    softmax_.Update(s, factors, [this](int r, float by) {
#pragma unroll
      for (int d = 0; d < kDims / 8; ++d) {
        out_[r >> 1][d][(r & 1) * 2] *= by;
        out_[r >> 1][d][(r & 1) * 2 + 1] *= by;
      }
    });
    AddValues(block_.KeyTile(n) + TilesOf::kSideBytes, s);
  }

  // The left operands of the products of load `load`.
  __device__ static void LoadQueries(uint32_t lane, int load,
                                     uint32_t (&a)[Op::kSteps][kRowTiles][4]) {
#pragma unroll
    for (int step = 0; step < Op::kSteps; ++step) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        LoadMatrices(
            NextPieces(lane, load * Op::kSteps + step) + m * 16 * kQueryPieces * kPieceBytes,
            a[step][m]);
      }
    }
  }

  // Operands are loaded while the products before them are made: keys one group of 16 ahead, the
  // queries too where that leaves registers. `copies`: those of the next tile are started on the
  // way; their addresses are loaded ahead as well.
  __device__ void Products(int n, bool copies, float (&s)[kRowTiles][kKeyTiles][4]) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int k = 0; k < kKeyTiles; ++k) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[m][k][e] = 0.0f;
      }
    }
    constexpr int kGroups = kKeyTiles / 2;
    constexpr int kQuerySets = Op::kSteps == 1 ? 2 : 1;
    const uint32_t queries =
        block_.Queries() +
        PieceOffset<kQueryPieces>(Block::FirstRowOfWarp() + Block::Lane() % 16, Block::Lane() / 16);
    const uint32_t keys = block_.KeyTile(n) + Op::KeyLane();
    const auto share = TilesOf::ShareOf(block_.KeyTile(n + 1), block_.Addresses(n + 1));
    uint32_t a[kQuerySets][Op::kSteps][kRowTiles][4];
    uint32_t b[2][Op::kSteps][2][2];
    LoadQueries(queries, 0, a[0]);
    Op::LoadKeys(keys, 0, 0, b[0]);
#pragma unroll
    for (int load = 0; load < Op::kKeyLoads; ++load) {
      const int first_pass = load * TilesOf::kPasses / Op::kKeyLoads;
      const int end_pass = (load + 1) * TilesOf::kPasses / Op::kKeyLoads;
      TokenAddress from[(TilesOf::kPasses + Op::kKeyLoads - 1) / Op::kKeyLoads];
      if (copies) {
#pragma unroll
        for (int i = first_pass; i < end_pass; ++i)
          from[i - first_pass] = TilesOf::AddressOf(share, i);
      }
      if (kQuerySets == 1 && load > 0) LoadQueries(queries, load, a[0]);
#pragma unroll
      for (int k = 0; k < kGroups; ++k) {
        const int group = load * kGroups + k;
        if (k + 1 < kGroups) {
          Op::LoadKeys(keys, (k + 1) * 16, load, b[(group + 1) % 2]);
        } else if (load + 1 < Op::kKeyLoads) {
          if (kQuerySets > 1) LoadQueries(queries, load + 1, a[(load + 1) % kQuerySets]);
          Op::LoadKeys(keys, 0, load + 1, b[(group + 1) % 2]);
        }
#pragma unroll
        for (int step = 0; step < Op::kSteps; ++step) {
          const auto& key = b[group % 2][step];
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) {
            const auto& query = a[load % kQuerySets][step][m];
            MultiplyAdd<T>(s[m][2 * k], query, key[0][0], key[0][1]);
            MultiplyAdd<T>(s[m][2 * k + 1], query, key[1][0], key[1][1]);
          }
        }
      }
      if (copies) {
#pragma unroll
        for (int i = first_pass; i < end_pass; ++i)
          TilesOf::CopyWholeRow(share, i, from[i - first_pass]);
      }
    }
  }

  __device__ void AddValues(uint32_t values, const float (&s)[kRowTiles][kKeyTiles][4]) {
    values += Op::ValueLane();
#pragma unroll
    for (int k = 0; k < kKeyTiles / 2; ++k) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) WeightFragment<T>(s, m, k, a[m]);
#pragma unroll
      for (int load = 0; load < Op::kValueLoads; ++load) {
        uint32_t b[Op::kValueTiles][2];
        Op::LoadValues(values, k * 16, load, b);
#pragma unroll
        for (int i = 0; i < Op::kValueTiles; ++i) {
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m)
            MultiplyAdd<T>(out_[m][load * Op::kValueTiles + i], a[m], b[i][0], b[i][1]);
        }
      }
    }
  }

  __device__ void ShapeLogits(int first_key, float (&s)[kRowTiles][kKeyTiles][4]) const {
    if (kKind != KvKind::kSame) {
#pragma unroll
      for (int r = 0; r < 2 * kRowTiles; ++r) {
        const float row_scale = RowScaleOf(Block::LocalRow(r));
#pragma unroll
        for (int k = 0; k < kKeyTiles; ++k) {
          s[r >> 1][k][(r & 1) * 2] *= row_scale;
          s[r >> 1][k][(r & 1) * 2 + 1] *= row_scale;
        }
      }
    }
    if (p.softcap > kLargeSoftcap) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int k = 0; k < kKeyTiles; ++k) header_.scale.CapExactly(p, s[m][k]);
      }
    } else if (p.softcap != 0.0f) {
#pragma unroll
      for (int r = 0; r < 2 * kRowTiles; ++r) {
#pragma unroll
        for (int k = 0; k < kKeyTiles; k += 2) {
          float* even = &s[r >> 1][k][(r & 1) * 2];
          float* odd = &s[r >> 1][k + 1][(r & 1) * 2];
          float four[] = {even[0], even[1], odd[0], odd[1]};
          header_.scale.CapFour(p, four);
          even[0] = four[0];
          even[1] = four[1];
          odd[0] = four[2];
          odd[1] = four[3];
        }
      }
    }
    if (p.alibi_slopes == 0) return;
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) {
      const RowName name = block_.NameRow(Block::LocalRow(r));
      // Rows that are not there have a head all the same.
      const float slope =
          LoadOptional(p.alibi_slopes, header_.kv_head * p.group_size + name.head, 0.0f);
      const int base = first_key + static_cast<int>(threadIdx.x & 3) * 2 -
                       header_.tile.first_position - name.token;
#pragma unroll
      for (int k = 0; k < kKeyTiles; ++k) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& logit = s[r >> 1][k][(r & 1) * 2 + e];
          logit = header_.scale.Bias(logit, slope, static_cast<float>(base + k * 8 + e));
        }
      }
    }
  }

  __device__ void Mask(int first_key, float (&s)[kRowTiles][kKeyTiles][4]) const {
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) {
      const VisibleKeys seen = block_.Seen(block_.NameRow(Block::LocalRow(r)).token);
      const int base = first_key + static_cast<int>(threadIdx.x & 3) * 2;
#pragma unroll
      for (int k = 0; k < kKeyTiles; ++k) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& logit = s[r >> 1][k][(r & 1) * 2 + e];
          logit = seen.Has(base + k * 8 + e) ? logit : MinusInfinity();
        }
      }
    }
  }

  __device__ bool HasNonFinite() const {
    float zero[4] = {};  // sums that do not wait for each other
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int d = 0; d < kDims / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) zero[e] = fmaf(out_[m][d][e], 0.0f, zero[e]);
      }
    }
    return (zero[0] + zero[1]) + (zero[2] + zero[3]) != 0.0f;  // NaN
  }

  // What this thread's rows are multiplied with to be stored, as far as they are of tokens
  // [begin, end) of the tile. Stores their log-sum-exps. Each lane does this for one row.
  __device__ void FinishRows(int begin, int end, float (&factors)[2 * kRowTiles]) const {
    float sum = 0.0f;
    float max = 0.0f;
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) {
      const int from = Block::Lane() % 8 * 4;
      const float sum_of_row = __shfl_sync(~0u, QuadSum(softmax_.sum[r]), from);
      const float max_of_row = __shfl_sync(~0u, softmax_.max[r], from);
      const bool own = Block::Lane() % kRowsOfWarp / 8 == r;
      sum = own ? sum_of_row : sum;
      max = own ? max_of_row : max;
    }
    const int local = Block::RowOfLane();
    const RowName name = block_.NameRow(local);
    float factor = 0.0f;
    if (local < header_.num_rows && name.token >= begin && name.token < end) {
      const int head = header_.kv_head * p.group_size + name.head;
      max = header_.scale.Natural(max, header_.scale.shaped ? 1.0f : RowScaleOf(local));
      factor = Normaliser(p, head, header_.kv_head, max, sum);
      if (Block::Lane() < kRowsOfWarp)
        StoreLse(p, header_.tile.first_row + name.token, head, max, sum);
    }
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r)
      factors[r] = __shfl_sync(~0u, factor, r * 8 + Block::Lane() / 4);
  }

  // The rows of tokens [begin, end) of the tile.
  __device__ void Store(int begin, int end) const {
    float factors[2 * kRowTiles];
    FinishRows(begin, end, factors);
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) {
      const int local = Block::LocalRow(r);
      const RowName name = block_.NameRow(local);
      if (local >= header_.num_rows || name.token < begin || name.token >= end) continue;
      StoreRow<Op>(p, block_.OutRow(name), out_[r >> 1], r & 1, factors[r]);
    }
  }

  // Whether rows of the output may be stored in pieces.
  __device__ bool OutInPieces() const {
    return p.out_in_pieces && (p.out_type == ElementType::kF16 || p.out_type == ElementType::kBF16);
  }
  // All rows, by way of the place of the warp's queries, which nobody reads any more: pairs as they
  // lie in registers would be written to memory by half sectors.
  __device__ void StoreByPieces() const {
    float factors[2 * kRowTiles];
    FinishRows(0, header_.tile.num_rows, factors);
    if (p.out_type == ElementType::kF16) {
      StageRows<__half>(factors);
    } else {
      StageRows<__nv_bfloat16>(factors);
    }
    __syncwarp();
    const int piece = Block::Lane() % kQueryPieces;
    const bool inside = piece * 8 < static_cast<int>(p.head_size);
    const uint64_t of_lane = block_.OutRow(block_.NameRow(Block::RowOfLane()));
#pragma unroll 4
    for (int i = 0; i < kRowsOfWarp; i += Block::kRowsAtOnce) {
      const int of_warp = i + Block::Lane() / kQueryPieces;
      const int row = Block::FirstRowOfWarp() + of_warp;
      const uint64_t to = __shfl_sync(~0u, of_lane, of_warp);
      if (!inside || row >= header_.num_rows) continue;
      *reinterpret_cast<uint4*>(to + piece * kPieceBytes) = *reinterpret_cast<const uint4*>(
          block_.QueryBytes() + PieceOffset<kQueryPieces>(row, piece));
    }
  }
  // This thread's rows as `Out` to where its warp's queries were.
  template <typename Out>
  __device__ void StageRows(const float (&factors)[2 * kRowTiles]) const {
    __syncwarp();  // all lanes have read the queries
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int dim = Op::ValueDim(0, i);
      const uint32_t first =
          block_.Queries() + PieceOffset<kQueryPieces>(Block::LocalRow(0), dim / 8) + dim % 8 * 2;
#pragma unroll
      for (int q = 0; q < kDims / 16; ++q) {
        const uint32_t to = NextPieces(first, q);
#pragma unroll
        for (int r = 0; r < 2 * kRowTiles; ++r) {
          const float2 pair = Op::ValuePair(out_[r >> 1][2 * q], out_[r >> 1][2 * q + 1], i, r & 1);
          StoreShared(to + r * 8 * kQueryPieces * kPieceBytes,
                      PackPair<Out>(pair.x * factors[r], pair.y * factors[r]));
        }
      }
    }
  }

  const AttentionParams& p;
  const Block block_;
  typename Block::Header& header_;
  RunningSoftmax<kRowTiles> softmax_;
  float out_[kRowTiles][kDims / 8][4];
};

template <typename T, KvKind kKind, int kDims>
__global__ void __launch_bounds__(PrefillShape<kDims>::kThreads,
                                  PrefillShape<kDims>::kBlocksPerMultiprocessor)
    PrefillKernel(const __grid_constant__ AttentionParams params) {
  extern __shared__ __align__(1024) uint8_t shared[];
  Prefill<T, kKind, kDims>(params, shared).Run();
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_PREFILL_CUH_
