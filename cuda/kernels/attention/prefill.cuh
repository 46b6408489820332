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
// Shared memory: the queries, a ring of `prefill_stages` tiles of keys and values, and the
// addresses of the next tile's rows.
//
// Bytes: the keys and values that the tile sees once (from L2 for all but the first of the tiles
// that run together), the queries and outputs once.
//
// Loop: before step n, all copies of tile n have arrived, those of tile n + 1 may be started, and
// the addresses for them stand in shared memory; rows hold the state of all tiles before n.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_PREFILL_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_PREFILL_CUH_

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
class Prefill {
  using Shape = PrefillShape<kDims>;
  using Op = Operands<T, kKind, kDims>;
  using TilesOf = Tiles<Op, Shape::kKeys, Shape::kThreads>;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kKeyTiles = kKeys / 8;
  static constexpr int kRowTiles = Shape::kRowTiles;
  static constexpr int kQueryPieces = kDims * 2 / kPieceBytes;

 public:
  // What a block knows of itself: in shared memory, since registers are what a prefill is short of.
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

  __device__ Prefill(const AttentionParams& params, uint8_t* shared)
      : p(params), shared_(shared), header_(*reinterpret_cast<Header*>(shared)) {
    if (threadIdx.x == 0) FillHeader();
    __syncthreads();
  }

  __device__ void Run() {
    if (header_.num_rows <= 0) return;
    if (header_.tile.first_block < 0) {
      StoreEmptyRows();
      return;
    }
    // In a product a weight of 0 does not keep out a value of NaN or infinity that another row of
    // the tile sees. Where such a thing came out, each token is taken by itself: then the copies
    // leave out whatever it does not see. The bits of other rows are the same either way.
    while (true) {
      Walk();
      const int count = header_.num_tokens;
      if (count > 1 && __syncthreads_or(HasNonFinite())) {
        SetTokens(0, 1);
        continue;
      }
      const int first = header_.first_token;
      Store(first, first + count);
      if (first + count == header_.tile.num_rows) return;
      SetTokens(first + count, count);
    }
  }

 private:
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
  // Of this thread's row r (RunningSoftmax).
  __device__ int LocalRow(int r) const {
    return (static_cast<int>(threadIdx.x) / 32 * kRowTiles + (r >> 1)) * 16 + (r & 1) * 8 +
           static_cast<int>(threadIdx.x & 31) / 4;
  }

  __device__ uint32_t Queries() const { return SharedAddress(shared_ + Shape::kHeaderBytes); }
  // The addresses of the keys of tile n.
  __device__ TokenAddress* Addresses(int n) const {
    return reinterpret_cast<TokenAddress*>(shared_ + Shape::kHeaderBytes + Shape::QueryBytes() +
                                           p.prefill_stages * TilesOf::kTileBytes) +
           (n & 1) * kKeys;
  }
  __device__ float* RowScales() const { return reinterpret_cast<float*>(Addresses(0) + 2 * kKeys); }

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

  // The queries' rows as they are, to shared memory; not waited for.
  __device__ bool CopyQueries() const {
    constexpr ElementType kOwn = std::is_same_v<T, __half> ? ElementType::kF16 : ElementType::kBF16;
    if (kKind != KvKind::kSame || !p.query_in_pieces || p.query_type != kOwn) return false;
    const int piece = threadIdx.x % kQueryPieces;
    const bool inside = piece * 8 < static_cast<int>(p.head_size);
#pragma unroll 4
    for (int i = 0; i < Shape::kRows * kQueryPieces / Shape::kThreads; ++i) {
      const int row = (i * Shape::kThreads + static_cast<int>(threadIdx.x)) / kQueryPieces;
      const bool there = inside && row < header_.num_rows;
      CopyAsync(Queries() + PieceOffset<kQueryPieces>(row, piece),
                QueryRow(row) + piece * kPieceBytes, there ? kPieceBytes : 0);
    }
    return true;
  }

  // The address of a row of the block; of one that is not there, that of the last.
  __device__ uint64_t QueryRow(int row) const {
    const RowName name = NameRow(min(row, header_.num_rows - 1));
    return RowAddress(p.query, header_.tile.first_row + name.token,
                      header_.kv_head * p.group_size + name.head);
  }

  // The block's queries to shared memory as T, in the order that the cache's kind wants, rows and
  // dimensions that are not there as 0.
  __device__ void ConvertQueries() const {
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
          const uint32_t to = Queries() + PieceOffset<kQueryPieces>(row, at / 8) + at % 8 * 2;
          asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(to), "r"(pairs[j][k]) : "memory");
        }
      }
    }
  }
  __device__ static int RowOfPass(int pass) {
    return (pass * Shape::kThreads + static_cast<int>(threadIdx.x)) / kQueryPieces;
  }

  // Eight dimensions as pairs of bfloat16 if the query is, else of T.
  __device__ void LoadQueryPiece(int row, uint32_t dim, uint32_t (&pairs)[4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) pairs[j] = 0;
    if (row >= header_.num_rows || dim >= p.head_size) return;
    const uint64_t from = QueryRow(row);
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
    if (threadIdx.x % kQueryPieces == 0) RowScales()[row] = scale;
  }
  // What row r of this thread was divided by.
  __device__ float RowScaleOf(int r) const {
    if (kKind == KvKind::kSame || p.query_type != ElementType::kBF16) return 1.0f;
    return RowScales()[LocalRow(r)];
  }
  // From logits to units of log2: shaped ones have been multiplied with the row's scale.
  __device__ float FactorOf(int r) const {
    return header_.scale.shaped ? header_.scale.factor : header_.scale.factor * RowScaleOf(r);
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
    TokenAddress& slot = Addresses(n)[LocalKey()];
    const int key = n * kKeys + LocalKey();
    if (!kSplitAddresses) {
      slot = FindAddress(p, block, key, header_.kv_head);
    } else if (threadIdx.x < kKeys) {
      slot.key = block < 0 ? 0 : LocateKey(p, block, key, header_.kv_head);
    } else {
      slot.value = block < 0 ? 0 : LocateValue(p, block, key, header_.kv_head);
    }
  }

  __device__ uint32_t KeyTile(int n) const {
    const uint32_t stage = p.prefill_stages == 2 ? static_cast<uint32_t>(n & 1) : 0;
    return Queries() + Shape::QueryBytes() + stage * TilesOf::kTileBytes;
  }
  __device__ void StartCopies(int n) const { TilesOf::StartCopies(p, KeyTile(n), Addresses(n)); }
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
    PutAddress(first, BlockIdOf(first));
    const bool copied = header_.have_queries || CopyQueries();
    __syncthreads();
    StartCopies(first);
    PutAddress(first + 1, BlockIdOf(first + 1));
    if (!copied) ConvertQueries();
    if (threadIdx.x == 0) header_.have_queries = true;
    for (int n = first; n <= last; ++n) {
      AwaitCopies<0>();
      __syncthreads();
      const bool ahead = p.prefill_stages > 1 && n < last;
      const bool between = ahead && IsWhole(n + 1);
      if (ahead && !between) StartCopies(n + 1);
      const int32_t block = BlockIdOf(n + 2);
      Step(n, between);
      PutAddress(n + 2, block);
      if (p.prefill_stages == 1) {
        __syncthreads();
        if (n < last) StartCopies(n + 1);
      }
    }
  }

  // `copies`: those of the next tile are started on the way.
  __device__ void Step(int n, bool copies) {
    float s[kRowTiles][kKeyTiles][4];
    Products(n, copies, s);
    if (header_.scale.shaped) ShapeLogits(n * kKeys, s);
    const VisibleKeys first = Seen(0);
    const bool all_seen = n * kKeys >= Seen(header_.tile.num_rows - 1).first &&
                          (n + 1) * kKeys <= first.first + static_cast<int>(first.count);
    if (!all_seen) Mask(n * kKeys, s);
    float rescale[2 * kRowTiles];
    float factors[2 * kRowTiles];
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) factors[r] = FactorOf(r);
    const bool changed = softmax_.Update(s, factors, rescale);
    if (__any_sync(~0u, changed)) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int d = 0; d < kDims / 8; ++d) {
#pragma unroll
          for (int e = 0; e < 4; ++e) out_[m][d][e] *= rescale[2 * m + (e >> 1)];
        }
      }
    }
    AddValues(KeyTile(n) + TilesOf::kSideBytes, s);
  }

  __device__ void Products(int n, bool copies, float (&s)[kRowTiles][kKeyTiles][4]) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int k = 0; k < kKeyTiles; ++k) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[m][k][e] = 0.0f;
      }
    }
    const int lane = threadIdx.x & 31;
    const uint32_t query =
        Queries() +
        PieceOffset<kQueryPieces>(static_cast<int>(threadIdx.x) / 32 * kRowTiles * 16 + (lane & 15),
                                  lane >> 4);
    const uint32_t keys = KeyTile(n) + Op::KeyLane();
    const uint32_t next = KeyTile(n + 1);
    const TokenAddress* next_rows = Addresses(n + 1);
    constexpr int kPasses = TilesOf::kPasses;
#pragma unroll
    for (int load = 0; load < Op::kKeyLoads; ++load) {
      uint32_t a[Op::kSteps][kRowTiles][4];
#pragma unroll
      for (int step = 0; step < Op::kSteps; ++step) {
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          LoadMatrices(
              NextPieces(query, load * Op::kSteps + step) + m * 16 * kQueryPieces * kPieceBytes,
              a[step][m]);
        }
      }
#pragma unroll
      for (int k = 0; k < kKeyTiles / 2; ++k) {
        uint32_t b[Op::kSteps][2][2];
        Op::LoadKeys(keys, k * 16, load, b);
#pragma unroll
        for (int step = 0; step < Op::kSteps; ++step) {
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) {
            MultiplyAdd<T>(s[m][2 * k], a[step][m], b[step][0][0], b[step][0][1]);
            MultiplyAdd<T>(s[m][2 * k + 1], a[step][m], b[step][1][0], b[step][1][1]);
          }
        }
      }
      if (copies) {
#pragma unroll
        for (int i = load * kPasses / Op::kKeyLoads; i < (load + 1) * kPasses / Op::kKeyLoads; ++i)
          TilesOf::CopyWholeRow(next, next_rows, i);
      }
    }
    if (copies) CommitCopies();
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
        const float row_scale = RowScaleOf(r);
#pragma unroll
        for (int k = 0; k < kKeyTiles; ++k) {
          s[r >> 1][k][(r & 1) * 2] *= row_scale;
          s[r >> 1][k][(r & 1) * 2 + 1] *= row_scale;
        }
      }
    }
    if (p.softcap != 0.0f) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int k = 0; k < kKeyTiles; ++k) header_.scale.Cap(p, s[m][k]);
      }
    }
    if (p.alibi_slopes == 0) return;
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) {
      const RowName name = NameRow(LocalRow(r));
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
      const VisibleKeys seen = Seen(NameRow(LocalRow(r)).token);
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
    float zero = 0.0f;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int d = 0; d < kDims / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) zero = fmaf(out_[m][d][e], 0.0f, zero);
      }
    }
    return zero != 0.0f;  // NaN
  }

  // The rows of tokens [begin, end) of the tile.
  __device__ void Store(int begin, int end) const {
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) {
      const float sum = QuadSum(softmax_.sum[r]);
      const int local = LocalRow(r);
      const RowName name = NameRow(local);
      if (local >= header_.num_rows || name.token < begin || name.token >= end) continue;
      const int row = header_.tile.first_row + name.token;
      const int head = header_.kv_head * p.group_size + name.head;
      const float max =
          header_.scale.Natural(softmax_.max[r], header_.scale.shaped ? 1.0f : RowScaleOf(r));
      const float factor = Normaliser(p, head, header_.kv_head, max, sum);
      if ((threadIdx.x & 3) == 0) StoreLse(p, row, head, max, sum);
      StoreRow<Op>(p, RowAddress(p.out, row, head), out_[r >> 1], r & 1, factor);
    }
  }

  const AttentionParams& p;
  uint8_t* shared_;
  Header& header_;
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
