// SPDX-License-Identifier: Apache-2.0
//
// Weights of partial softmaxes, from their log-sum-exps, for host and device. No CUDA header.
#ifndef WEFT_CUDA_KERNELS_STATES_WEIGHTS_H_
#define WEFT_CUDA_KERNELS_STATES_WEIGHTS_H_

#include <cmath>
#include <cstdint>

#include "cuda/kernels/host_device.h"

namespace weft::cuda {

inline constexpr uint32_t kInfinityBits = 0x7f800000u;
inline constexpr float kLog2OfE = 1.4426950408889634f;

// The log-sum-exp of a state that has seen no key.
WEFT_HOST_DEVICE inline float EmptyLse() { return FloatOfBits(0xff800000u); }
WEFT_HOST_DEVICE inline uint32_t MagnitudeBits(float value) {
  return BitsOfFloat(value) & 0x7fffffffu;
}

// 2^((lse - maximum) * unit), where `maximum` is at least lse: of an empty state 0, also beside
// nothing but empty ones, and exactly 1 at the maximum.
WEFT_HOST_DEVICE inline float WeightOf(float lse, float maximum, float unit) {
  return exp2f((lse - (maximum == EmptyLse() ? 0.0f : maximum)) * unit);
}

struct MergeWeights {
  float a;  // factors of the outputs; looked at only if there is one
  float b;
  bool has_a;
  bool has_b;
  float lse;
};

// Either infinity says that a state is empty. A NaN goes its way through the factors.
WEFT_HOST_DEVICE inline MergeWeights WeighStates(float a_lse, float b_lse, float sink) {
  if (MagnitudeBits(a_lse) == kInfinityBits) a_lse = EmptyLse();
  if (MagnitudeBits(b_lse) == kInfinityBits) b_lse = EmptyLse();
  const float maximum = fmaxf(a_lse, b_lse);
  const float largest = fmaxf(maximum, sink);
  MergeWeights weights;
  const float a = WeightOf(a_lse, largest, kLog2OfE);
  const float b = WeightOf(b_lse, largest, kLog2OfE);
  const float divisor = (a + b) + WeightOf(sink, largest, kLog2OfE);
  weights.has_a = a_lse != EmptyLse();
  weights.has_b = b_lse != EmptyLse();
  // A lone state has a factor of exactly 1: it is kept to the bit.
  weights.a = a / divisor;
  weights.b = b / divisor;
  const float sum = WeightOf(a_lse, maximum, kLog2OfE) + WeightOf(b_lse, maximum, kLog2OfE);
  const float lse = sum == 1.0f ? maximum : maximum + logf(sum);
  weights.lse = weights.has_a || weights.has_b ? lse : EmptyLse();
  return weights;
}

// Without contraction to a fused product: a and b change places without changing a bit. What is
// empty may hold anything, and is replaced by the zero that leaves the other as it is.
WEFT_HOST_DEVICE inline float MergeElement(const MergeWeights& weights, float a, float b) {
#ifdef __CUDA_ARCH__
  const float a_term = __fmul_rn(a, weights.a);
  const float b_term = __fmul_rn(b, weights.b);
  return __fadd_rn(weights.has_a   ? a_term
                   : weights.has_b ? -0.0f
                                   : 0.0f,
                   weights.has_b ? b_term : -0.0f);
#else
  const float a_term = a * weights.a;
  const float b_term = b * weights.b;
  return (weights.has_a ? a_term : weights.has_b ? -0.0f : 0.0f) + (weights.has_b ? b_term : -0.0f);
#endif
}

// Where the log-sum-exps of one (row, head) lie, one for each rank.
struct RankLses {
  uint64_t address;
  int64_t rank_stride;  // bytes
  int32_t ranks;
};

// NaN and infinities stand for an empty shard.
WEFT_HOST_DEVICE inline float LseOfRank(const RankLses& lses, int32_t rank) {
  const auto lse = LoadGlobal<float>(lses.address + rank * lses.rank_stride);
  return MagnitudeBits(lse) < kInfinityBits ? lse : EmptyLse();
}

struct RankShare {
  float factor;  // 0: the shard adds nothing, whatever its output holds
  float lse;
};

// The log-sum-exps of ranks [first, first + kCount), all loads in flight together; behind the last
// rank, empty shards.
template <int kCount>
WEFT_HOST_DEVICE inline void LoadRanks(const RankLses& lses, int32_t first,
                                       float (&values)[kCount]) {
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kCount; ++i) {
    const int32_t rank = first + i < lses.ranks ? first + i : lses.ranks - 1;
    const float value = LseOfRank(lses, rank);
    values[i] = rank == first + i ? value : EmptyLse();
  }
}

// The largest log-sum-exp, and the weights of all ranks relative to it, added up in their order.
struct RankTotal {
  float maximum;
  float total;
};

// Neighbours first: lanes that hold two each, and neighbours of theirs, give the same bits.
template <int kCount>
WEFT_HOST_DEVICE inline float SumInPairs(float (&values)[kCount]) {
  for (int step = 1; step < kCount; step *= 2) {
    for (int i = 0; i + step < kCount; i += 2 * step) values[i] += values[i + step];
  }
  return values[0];
}

// Of at most kCount ranks, each read once.
template <int kCount>
WEFT_HOST_DEVICE inline RankTotal TotalOfFew(const RankLses& lses, float unit) {
  float values[kCount];
  LoadRanks(lses, 0, values);
  RankTotal result = {EmptyLse(), 0.0f};
  for (float value : values) result.maximum = fmaxf(result.maximum, value);
  for (float& value : values) value = WeightOf(value, result.maximum, unit);
  result.total = SumInPairs(values);
  return result;
}

WEFT_HOST_DEVICE inline RankTotal TotalOfMany(const RankLses& lses, float unit) {
  constexpr int kCount = 8;
  RankTotal result = {EmptyLse(), 0.0f};
#ifdef __CUDA_ARCH__
#pragma unroll 1
#endif
  for (int32_t first = 0; first < lses.ranks; first += kCount) {
    float values[kCount];
    LoadRanks(lses, first, values);
    for (float value : values) result.maximum = fmaxf(result.maximum, value);
  }
  // What is read a second time is near by now.
#ifdef __CUDA_ARCH__
#pragma unroll 1
#endif
  for (int32_t first = 0; first < lses.ranks; first += kCount) {
    float values[kCount];
    LoadRanks(lses, first, values);
    for (float value : values) result.total += WeightOf(value, result.maximum, unit);
  }
  return result;
}

WEFT_HOST_DEVICE inline RankTotal TotalOfRanks(const RankLses& lses, float unit) {
  if (lses.ranks <= 2) return TotalOfFew<2>(lses, unit);
  if (lses.ranks <= 4) return TotalOfFew<4>(lses, unit);
  if (lses.ranks <= 8) return TotalOfFew<8>(lses, unit);
  return TotalOfMany(lses, unit);
}

// Of a shard whose log-sum-exp is `own`. `sink` is a natural logarithm, or EmptyLse().
WEFT_HOST_DEVICE inline RankShare ShareOf(const RankTotal& of, float own, float sink, bool base2) {
  const float unit = base2 ? 1.0f : kLog2OfE;
  if (base2) sink *= kLog2OfE;
  const float largest = fmaxf(of.maximum, sink);
  const float divisor =
      of.total * WeightOf(of.maximum, largest, unit) + WeightOf(sink, largest, unit);
  RankShare share;
  share.factor = own == EmptyLse() ? 0.0f : WeightOf(own, largest, unit) / divisor;
  const float logarithm = base2 ? log2f(of.total) : logf(of.total);
  share.lse = of.maximum == EmptyLse() ? EmptyLse()
              : of.total == 1.0f       ? of.maximum
                                       : of.maximum + logarithm;
  return share;
}

WEFT_HOST_DEVICE inline RankShare ShareOfRank(const RankLses& lses, int32_t rank, float sink,
                                              bool base2) {
  const float own = LseOfRank(lses, rank);
  return ShareOf(TotalOfRanks(lses, base2 ? 1.0f : kLog2OfE), own, sink, base2);
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_STATES_WEIGHTS_H_
