// SPDX-License-Identifier: Apache-2.0
//
// Granules of decode rows, one after the other and from one row to the next, for up to 8 query
// heads of one kv head: their states (largest logit, sum of weights, weighted sum of values),
// folded as far as partial.cuh allows, go to the workspace, for merge.cuh.
//
// The products are taken the other way round than in a prefill: keys times queries, and values
// times weights, so that the 8 heads stand where mma.sync has 8 columns and not where it has 16
// rows. That halves the work on tensor cores, which at 4 heads is mostly padding, and the
// registers.
//
// Grid: units (schedule.h) x kv heads x chunks (of 8 query heads, where a group has more), heads
// faster than units, so that blocks that read the same pages run together.
//
// Block: 1, 2 or 4 warps, as the launch has it. A granule is cut into kParts parts of adjacent
// keys, whose states are folded in pairs, and the pairs' states; the warps share them out. So few
// warps to a granule, which keep out of each other's way, serve a large batch, many a small one,
// and the bits are the same. Each warp takes kKeys keys at a time through a ring of tiles of its
// own in shared memory, from one granule to the next without a pause in its copies; nothing but a
// granule's end needs a barrier.
//
// Shared memory: the rings, states that wait to be folded, and what the block has to do.
//
// Bytes: keys and values once, the queries once; head_size + 2 floats for each head and state that
// is left.
//
// Loop: before run t, the copies of the stages - 1 runs from t on have been started, and the
// addresses for the one after them, or block ids that lead there, are in registers
// (decode_copies.cuh).
#ifndef WEFT_CUDA_KERNELS_ATTENTION_DECODE_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_DECODE_CUH_

#include <cstdint>
#include <type_traits>

#include "core/plan_tables.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/decode_copies.cuh"
#include "cuda/kernels/attention/logits.cuh"
#include "cuda/kernels/attention/operand.cuh"
#include "cuda/kernels/attention/output.cuh"
#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/partial.cuh"
#include "cuda/kernels/attention/ptx.cuh"
#include "cuda/kernels/attention/tiles.cuh"

namespace weft::cuda {

template <typename T, KvKind kKind, int kDims>
class Decode {
  using Op = Operands<T, kKind, kDims>;
  using Shape = DecodeShape<kDims, Op::kElementBytes>;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kHeads = Shape::kRows;
  static constexpr int kParts = Shape::kParts;
  static constexpr int kRunsOfPart = static_cast<int>(kGranule) / kParts / kKeys;
  static constexpr int kSideBytes = kKeys * Op::kRowBytes;
  static_assert(2 * kSideBytes == Shape::kStageBytes);

 public:
  // States that wait, beside their sums.
  struct Shared {
    float max[kParts][kHeads];  // in units of the products
    float sum[kParts][kHeads];
    float units[kHeads];
    // The granules folded so far, beside their sums.
    float folded_max[kHeads];  // natural
    float folded_sum[kHeads];
    int num_granules;  // of this block
    DecodeWork work[kMaxUnit];
  };

  __device__ Decode(const AttentionParams& params, uint8_t* dynamic, Shared& shared)
      : p(params),
        shared_(shared),
        lane_(threadIdx.x & 31),
        warp_(static_cast<int>(threadIdx.x) / 32),
        warps_(static_cast<int>(blockDim.x) / 32),
        stages_(static_cast<int>(params.decode_stages)),
        ring_(SharedAddress(dynamic) + warp_ * stages_ * Shape::kStageBytes),
        waiting_sums_(reinterpret_cast<float*>(dynamic + warps_ * stages_ * Shape::kStageBytes)) {}

  __device__ void Run() {
    place_ = FindDecodePlace(p, Shape::kRows);
    if (threadIdx.x == 0) shared_.num_granules = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < place_.num_splits; i += static_cast<int>(blockDim.x)) {
      shared_.work[i] = FindDecodeWork(p, place_.first_split + i);
      // Entries that only fill up the table come last.
      if (shared_.work[i].row >= 0) atomicMax(&shared_.num_granules, i + 1);
    }
    scale_ = LogitScale::Of(p, place_.kv_head);
    __syncthreads();
    num_granules_ = shared_.num_granules;
    Walk();
  }

 private:
  __device__ void Walk() {
    DecodeCopies<Op, Shape, kDims> copies(p, ring_, place_.kv_head, warp_, warps_, shared_.work,
                                          num_granules_);
#pragma unroll 1
    for (int i = 0; i < stages_ - 1; ++i) copies.Next(i);
    int stage = 0;
    work_.row = -1;
    for (int g = 0; g < num_granules_; ++g) {
      const int row_before = work_.row;
      work_ = shared_.work[g];
      if (work_.row != row_before) LoadQueries();
      ClearSlots();
      StartState();
      const auto runs = DecodeRuns<Shape>::Of(work_, warp_, warps_);
      for (int run = runs.first; run < runs.end; ++run) {
        if (stages_ > kFewestDecodeStages) {
          AwaitCopies<Shape::kStages - 2>();
        } else {
          AwaitCopies<kFewestDecodeStages - 2>();
        }
        __syncwarp();
        // Into the stage that the step before has read.
        copies.Next(stage == 0 ? stages_ - 1 : stage - 1);
        Step(run * kKeys, ring_ + stage * Shape::kStageBytes);
        stage = stage + 1 == stages_ ? 0 : stage + 1;
        if ((run + 1) % kRunsOfPart == 0 || run + 1 == runs.end) {
          Leave(run / kRunsOfPart % kParts);
          StartState();
        }
      }
      __syncthreads();
      LeaveGranule(g);
      __syncthreads();
    }
    AwaitCopies<0>();
  }

  // Fragments of the queries as right operand, in registers: of step k, head lane / 4, dimensions
  // 2 * (lane % 4) and the next, and those 8 further. Heads that are not there are 0.
  __device__ void LoadQueries() {
    const uint32_t bytes = ElementBytes(p.query_type);
    const int head = lane_ / 4;
    const uint64_t row = RowAddress(p.query, work_.row, place_.first_head + head);
    const auto each = [&](auto&& load) {
#pragma unroll
      for (int k = 0; k < kDims / 16; ++k) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const uint32_t dim = DimAt(k * 16 + r * 8 + (lane_ & 3) * 2);
          query_[k][r] = 0;
          if (head < place_.num_heads && dim < p.head_size)
            query_[k][r] = load(dim, row + dim * bytes);
        }
      }
    };
    if (p.query_in_pieces && bytes == 2) {
      each([](uint32_t, uint64_t at) { return __ldg(reinterpret_cast<const uint32_t*>(at)); });
    } else {
      const bool wide = std::is_same_v<T, __nv_bfloat16> || p.query_type == ElementType::kBF16;
      each([&](uint32_t dim, uint64_t at) {
        const float low = LoadElement(p.query_type, at);
        const float high = dim + 1 < p.head_size ? LoadElement(p.query_type, at + bytes) : 0.0f;
        return wide ? PackPair<__nv_bfloat16>(low, high) : PackPair<__half>(low, high);
      });
    }
    if (kKind != KvKind::kSame && p.query_type == ElementType::kBF16) MakeHalves();
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int column = (lane_ & 3) * 2 + c;
      // Lane 4 * column holds that head's query.
      row_scales_[c] = __shfl_sync(~0u, row_scale_, column * 4);
      factors_[c] = scale_.factor * Unit(row_scales_[c]);
    }
    if (warp_ == 0 && lane_ % 4 == 0) shared_.units[lane_ / 4] = Unit(row_scale_);
  }

  // What is left of a query's scale in its logits: shaped ones have been multiplied with it.
  __device__ float Unit(float row_scale) const { return scale_.shaped ? 1.0f : row_scale; }

  // A query of bfloat16 becomes halves times a power of two.
  __device__ void MakeHalves() {
    float size = 0.0f;
#pragma unroll
    for (int k = 0; k < kDims / 16; ++k)
      size = fmaxf(size, fmaxf(PairSize(query_[k][0]), PairSize(query_[k][1])));
    row_scale_ = RowScale(QuadMax(size));
    const float inverse = 1.0f / row_scale_;
#pragma unroll
    for (int k = 0; k < kDims / 16; ++k) {
      query_[k][0] = HalvesOfPair(query_[k][0], inverse);
      query_[k][1] = HalvesOfPair(query_[k][1], inverse);
    }
  }

  // The dimension at a position of the query: the inverse of QueryPosition.
  __device__ static uint32_t DimAt(int position) {
    if (kKind == KvKind::kSame) return position;
    const int within = position & 15;
    return (position & ~15) + ((within & 7) >> 1) * 4 + (within >> 3) * 2;
  }

  __device__ void StartState() {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      max_[c] = MinusInfinity();
      sum_[c] = 0.0f;
    }
#pragma unroll
    for (int d = 0; d < kDims / 16; ++d) {
#pragma unroll
      for (int e = 0; e < 4; ++e) out_[d][e] = 0.0f;
    }
  }

  // Takes in the run of keys from `first_key` on. A lane holds logits of keys lane / 4 and that + 8
  // of each 16, for heads 2 * (lane % 4) and the next: s[m][2 * (key half) + column].
  __device__ void Step(int first_key, uint32_t keys) {
    float s[kKeys / 16][4];
    Products(keys, s);
    const int base = first_key + lane_ / 4;
    if (scale_.shaped) ShapeLogits(base - work_.position, s);
    if (first_key < work_.keys.begin || first_key + kKeys > work_.keys.end) {
#pragma unroll
      for (int m = 0; m < kKeys / 16; ++m) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = base + m * 16 + (e >> 1) * 8;
          if (key < work_.keys.begin || key >= work_.keys.end) s[m][e] = MinusInfinity();
        }
      }
    }
    float rescale[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) Weigh(c, s, rescale[c]);
    if (__any_sync(~0u, rescale[0] != 1.0f || rescale[1] != 1.0f)) {
#pragma unroll
      for (int d = 0; d < kDims / 16; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out_[d][e] *= rescale[e & 1];
      }
    }
    AddValues(keys + kSideBytes, s);
  }

  __device__ void Products(uint32_t keys, float (&s)[kKeys / 16][4]) const {
#pragma unroll
    for (int m = 0; m < kKeys / 16; ++m) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[m][e] = 0.0f;
    }
    keys += Op::LeftKeyLane();
#pragma unroll
    for (int load = 0; load < Op::kKeyLoads; ++load) {
#pragma unroll
      for (int m = 0; m < kKeys / 16; ++m) {
        uint32_t a[Op::kSteps][4];
        Op::LoadLeftKeys(keys, m * 16, load, a);
#pragma unroll
        for (int step = 0; step < Op::kSteps; ++step) {
          const auto& b = query_[load * Op::kSteps + step];
          MultiplyAdd<T>(s[m], a[step], b[0], b[1]);
        }
      }
    }
  }

  // Logits of column c become weights. Lanes that hold the same heads differ in bits 2 to 4.
  __device__ void Weigh(int c, float (&s)[kKeys / 16][4], float& rescale) {
    float largest = fmaxf(s[0][c], s[0][2 + c]);
#pragma unroll
    for (int m = 1; m < kKeys / 16; ++m) largest = fmaxf(largest, fmaxf(s[m][c], s[m][2 + c]));
#pragma unroll
    for (int lane = 4; lane < 32; lane *= 2)
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lane));
    const float now = fmaxf(max_[c], largest);
    // Differences first: the largest weight is exactly 1.
    const float origin = Origin(now);
    rescale = now == max_[c] ? 1.0f : Exp2((max_[c] - origin) * factors_[c]);
    max_[c] = now;
    float total = 0.0f;
#pragma unroll
    for (int m = 0; m < kKeys / 16; ++m) {
      s[m][c] = Exp2((s[m][c] - origin) * factors_[c]);
      s[m][2 + c] = Exp2((s[m][2 + c] - origin) * factors_[c]);
      total += s[m][c] + s[m][2 + c];
    }
    sum_[c] = fmaf(sum_[c], rescale, total);
  }

  __device__ void AddValues(uint32_t values, const float (&s)[kKeys / 16][4]) {
    values += Op::LeftValueLane();
#pragma unroll
    for (int m = 0; m < kKeys / 16; ++m) {
      // Keys are rows of the logits, and the inner dimension here.
      const uint32_t b0 = Transpose(PackPair<T>(s[m][0], s[m][1]));
      const uint32_t b1 = Transpose(PackPair<T>(s[m][2], s[m][3]));
#pragma unroll
      for (int load = 0; load < Op::kValueLoads; ++load) {
        uint32_t a[Op::kSteps][4];
        Op::LoadLeftValues(values, m * 16, load, a);
#pragma unroll
        for (int i = 0; i < Op::kSteps; ++i)
          MultiplyAdd<T>(out_[load * Op::kSteps + i], a[i], b0, b1);
      }
    }
  }

  __device__ void ShapeLogits(int distance, float (&s)[kKeys / 16][4]) const {
#pragma unroll
    for (int m = 0; m < kKeys / 16; ++m) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[m][e] *= row_scales_[e & 1];
      if (p.softcap != 0.0f) scale_.Cap(p, s[m]);
    }
    if (p.alibi_slopes == 0) return;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int head = min((lane_ & 3) * 2 + c, place_.num_heads - 1);
      const float slope = LoadOptional(p.alibi_slopes, place_.first_head + head, 0.0f);
#pragma unroll
      for (int m = 0; m < kKeys / 16; ++m) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float& logit = s[m][h * 2 + c];
          logit = scale_.Bias(logit, slope, static_cast<float>(distance + m * 16 + h * 8));
        }
      }
    }
  }

  // The sums of a state that waits: [head_size]. The lanes that hold a state have different banks.
  static constexpr int kPitch = Shape::kStateBytes / 4;
  __device__ float* WaitingSums(int slot, int column) const {
    return waiting_sums_ + (slot * min(static_cast<int>(p.group_size), kHeads) + column) * kPitch;
  }
  // Behind the slots of parts.
  __device__ float* FoldedSums(int column) const { return WaitingSums(max(warps_, 2), column); }

  // The slot of a part: warps that have two adjacent ones fold them.
  __device__ int SlotOf(int part) const { return warps_ == kParts ? part : part / 2; }

  // Nothing waits in the slots of this warp.
  __device__ void ClearSlots() const {
    const int slots = warps_ == 1 ? 2 : 1;
    for (int i = lane_; i < slots * kHeads; i += 32) {
      shared_.max[warp_ + i / kHeads][i % kHeads] = MinusInfinity();
      shared_.sum[warp_ + i / kHeads][i % kHeads] = kAbsent;
    }
    __syncwarp();
  }

  // The state joins what waits in the part's slot.
  __device__ void Leave(int part) {
    const int slot = SlotOf(part);
    float totals[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      totals[c] = sum_[c];
#pragma unroll
      for (int lane = 4; lane < 32; lane *= 2) totals[c] += __shfl_xor_sync(~0u, totals[c], lane);
    }
    const bool joins = !IsAbsent(shared_.sum[slot][0]);
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int column = (lane_ & 3) * 2 + c;
      if (column >= place_.num_heads) continue;
      float* waiting = WaitingSums(slot, column);
      if (joins) {
        const FoldStep fold = FoldStep::Of(shared_.max[slot][column], max_[c], factors_[c]);
        max_[c] = fold.max;
        totals[c] = fold(shared_.sum[slot][column], totals[c]);
#pragma unroll
        for (int d = 0; d < kDims / 16; ++d) {
#pragma unroll
          for (int h = 0; h < 2; ++h)
            out_[d][h * 2 + c] = fold(waiting[Op::LeftValueDim(d, h)], out_[d][h * 2 + c]);
        }
      }
#pragma unroll
      for (int d = 0; d < kDims / 16; ++d) {
#pragma unroll
        for (int h = 0; h < 2; ++h) waiting[Op::LeftValueDim(d, h)] = out_[d][h * 2 + c];
      }
    }
    __syncwarp();
    if (lane_ < 4) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        shared_.max[slot][lane_ * 2 + c] = max_[c];
        shared_.sum[slot][lane_ * 2 + c] = totals[c];
      }
    }
    __syncwarp();
  }

  // What waits in a slot, 0 if nothing does.
  __device__ float WaitingTotal(int slot, int column) const {
    const float total = shared_.sum[slot][column];
    return IsAbsent(total) ? 0.0f : total;
  }
  // Adjacent dimensions that a lane takes at once, and how it moves them.
  static constexpr int kVector = kDims > 64 ? 4 : 2;
  struct alignas(kVector * 4) Vector {
    float of[kVector];
  };
  __device__ Vector WaitingVector(int slot, int column, int dim) const {
    const Vector sums = *reinterpret_cast<const Vector*>(WaitingSums(slot, column) + dim);
    return IsAbsent(shared_.sum[slot][column]) ? Vector{} : sums;
  }
  // Of dimensions that lie behind the head nothing is stored.
  __device__ void StoreVector(float* to, int dim, const Vector& sums) const {
    if (p.head_size % kVector == 0 && p.partial_sums % (kVector * 4) == 0) {
      *reinterpret_cast<Vector*>(to + dim) = sums;
      return;
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      if (dim + i < static_cast<int>(p.head_size)) to[dim + i] = sums.of[i];
    }
  }
  __device__ FoldStep FoldSlots(int before, int next, int column, float factor) const {
    return FoldStep::Of(shared_.max[before][column], shared_.max[next][column], factor);
  }

  __device__ static Vector Fold(const FoldStep& step, const Vector& before, const Vector& next) {
    Vector sums;
#pragma unroll
    for (int i = 0; i < kVector; ++i) sums.of[i] = step(before.of[i], next.of[i]);
    return sums;
  }

  // Puts together granule g of the walk, and folds granules of a group as far as they follow its
  // beginning here; what is complete goes to the workspace.
  __device__ void LeaveGranule(int g) {
    const bool begins = work_.granule % kFoldedGranules == 0 || work_.begins;
    folds_ = begins || (g > 0 && folds_);
    const bool joins = folds_ && !begins;
    const bool waits = folds_ && (work_.granule + 1) % kFoldedGranules != 0 &&
                       g + 1 < num_granules_ && shared_.work[g + 1].row == work_.row;
    const bool four = warps_ == kParts;
    for (int column = warp_; column < place_.num_heads; column += warps_) {
      const float unit = shared_.units[column];
      const float factor = scale_.factor * unit;
      // Of slots 0 and 1, of 2 and 3, and of the two.
      const FoldStep first = FoldSlots(0, 1, column, factor);
      FoldStep second = first;
      FoldStep both = first;
      float total = first(WaitingTotal(0, column), WaitingTotal(1, column));
      if (four) {
        second = FoldSlots(2, 3, column, factor);
        both = FoldStep::Of(first.max, second.max, factor);
        total = both(total, second(WaitingTotal(2, column), WaitingTotal(3, column)));
      }
      float max = scale_.Natural(both.max, unit);
      FoldStep group = {};
      if (joins) {
        group = FoldStep::Of(shared_.folded_max[column], max, kLog2E);
        max = group.max;
        total = group(shared_.folded_sum[column], total);
      }
      const int head = place_.first_head + column;
      float* folded = FoldedSums(column);
      float* to = PartialSum(p, work_.partial, head);
#pragma unroll
      for (int v = 0; v < kDims / 32; v += kVector) {
        const int dim = v * 32 + lane_ * kVector;
        if (dim >= static_cast<int>(p.head_size)) break;
        Vector sums = Fold(first, WaitingVector(0, column, dim), WaitingVector(1, column, dim));
        if (four) {
          const Vector last =
              Fold(second, WaitingVector(2, column, dim), WaitingVector(3, column, dim));
          sums = Fold(both, sums, last);
        }
        Vector& before = *reinterpret_cast<Vector*>(folded + dim);
        if (joins) sums = Fold(group, before, sums);
        if (waits) {
          before = sums;
        } else {
          StoreVector(to, dim, sums);
        }
      }
      __syncwarp();  // folded_max and folded_sum have been read
      if (lane_ != 0) continue;
      if (waits) {
        shared_.folded_max[column] = max;
        shared_.folded_sum[column] = total;
        StoreAbsent(p, work_.partial, head);
      } else {
        StoreStats(p, work_.partial, head, max, total);
      }
    }
  }

  const AttentionParams& p;
  Shared& shared_;
  int lane_;
  int warp_;
  int warps_;
  int stages_;  // Shape::kStages or kFewestDecodeStages
  uint32_t ring_;
  float* waiting_sums_;
  DecodePlace place_;
  int num_granules_ = 0;
  DecodeWork work_;
  LogitScale scale_;
  uint32_t query_[kDims / 16][2];
  float row_scale_ = 1.0f;  // what the query of head lane / 4 was divided by
  // Of heads 2 * (lane % 4) and the next:
  float row_scales_[2];
  float factors_[2];
  float max_[2];  // in units of the products
  float sum_[2];  // of this lane's keys
  float out_[kDims / 16][4];
  bool folds_ = false;  // granules of the group under way are folded here
};

template <typename T, KvKind kKind, int kDims>
__global__ void __launch_bounds__(kMaxDecodeThreads, 1)
    DecodeKernel(const __grid_constant__ AttentionParams params) {
  extern __shared__ __align__(1024) uint8_t dynamic[];
  __shared__ typename Decode<T, kKind, kDims>::Shared shared;
#if __CUDA_ARCH__ >= 900
  // The merge may take its place on the device; it waits for all of this grid.
  cudaTriggerProgrammaticLaunchCompletion();
#endif
  Decode<T, kKind, kDims>(params, dynamic, shared).Run();
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_DECODE_CUH_
