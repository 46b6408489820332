// SPDX-License-Identifier: Apache-2.0
//
// MergeStates, CorrectAttnOut and QuantizeFp8 of the mutant.
#include <algorithm>
#include <cmath>
#include <limits>

#include "testing/conformance/mutant_backend.h"
#include "testing/conformance/mutant_memory.h"

namespace weft::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Weights {
  double a = 0.0, b = 0.0;
  double lse = -INFINITY;
};

Weights WeightsOf(double a, double b, double sink, Fault fault) {
  if (fault != Fault::kMergeInfinity) {
    if (a == kInfinity) a = -INFINITY;
    if (b == kInfinity) b = -INFINITY;
  }
  if (fault == Fault::kMergeBase2) a *= std::log(2.0), b *= std::log(2.0);
  double largest = std::max(a, b);
  if (std::isinf(largest) && largest < 0 && fault != Fault::kMergeEmptyNan) return {};
  if (fault == Fault::kMergeNoMaximum) largest = 0.0;
  // In float, as a kernel does it: without the maximum this overflows.
  const double ea = static_cast<float>(std::exp(a - largest));
  const double eb = static_cast<float>(std::exp(b - largest));
  const double sum = ea + eb;
  double with_sink = sum;
  if (fault != Fault::kMergeIgnoreSinks) with_sink += std::exp(sink - largest);
  if (fault == Fault::kMergeSinkTwice) with_sink += std::exp(sink - largest);
  Weights w;
  w.a = ea / with_sink;
  w.b = eb / with_sink;
  w.lse = largest + std::log(fault == Fault::kMergeSinkInLse ? with_sink : sum);
  if (fault == Fault::kMergeSwapped) std::swap(w.a, w.b);
  if (fault == Fault::kMergeAverage) w.a = w.b = 0.5;
  return w;
}

}  // namespace

void RunMutantMerge(const MergeStatesArgs& args, Fault fault) {
  for (int64_t row = 0; row < args.a.extent(0); ++row) {
    for (int64_t head = 0; head < args.a.extent(1); ++head) {
      const auto lse_index = [&](const TensorView& view) {
        return fault == Fault::kMergePackedLse ? PackedIndex(view, row, head)
                                               : IndexOf(view, row, head);
      };
      const Weights w = WeightsOf(Load(args.a_lse, lse_index(args.a_lse)),
                                  Load(args.b_lse, lse_index(args.b_lse)),
                                  ValueOr(args.sinks, head, -kInfinity), fault);
      for (int64_t d = 0; d < args.a.extent(2); ++d) {
        const bool leak = fault == Fault::kMergeLeakEmpty;
        const double a =
            w.a == 0.0 && !leak ? 0.0 : w.a * Load(args.a, IndexOf(args.a, row, head, d));
        const double b =
            w.b == 0.0 && !leak ? 0.0 : w.b * Load(args.b, IndexOf(args.b, row, head, d));
        auto value = static_cast<float>(a + b);
        if (fault == Fault::kMergeOrder && w.a > w.b && w.b > 1e-6) {
          value = std::nextafter(value, kInfinity);
        }
        const int64_t to = IndexOf(args.out, row, head, d);
        if (IsFp8(args.out.dtype())) {
          const auto how = fault == Fault::kMergeOverflow ? Fp8Fault::kOverflow : Fp8Fault::kNone;
          *At<uint8_t>(args.out.address(), to) =
              ToFp8(args.out.dtype(), value / args.out_scale, how);
        } else {
          Store(args.out, to, value);
        }
      }
      if (args.lse.given()) Store(args.lse, lse_index(args.lse), static_cast<float>(w.lse));
    }
  }
}

void RunMutantCorrect(const CorrectAttnOutArgs& args, Fault fault) {
  const bool packed = fault == Fault::kCorrectPacked;
  const double unit =
      args.base == LseBase::k2 && fault != Fault::kCorrectBaseE ? std::log(2.0) : 1.0;
  const auto usable = [&](float lse) -> double {
    if (std::isnan(lse)) return fault == Fault::kCorrectKeepNan ? double{lse} : -INFINITY;
    if (lse == kInfinity && fault != Fault::kCorrectPlusInfinity) return -INFINITY;
    return unit * lse;
  };
  for (int64_t row = 0; row < args.out.extent(0); ++row) {
    for (int64_t head = 0; head < args.out.extent(1); ++head) {
      const auto lse_of = [&](int64_t rank) {
        return usable(Load(args.lses, IndexOf(args.lses, rank, row, head)));
      };
      double largest = -INFINITY;
      for (int64_t r = 0; r < args.lses.extent(0); ++r) largest = std::max(largest, lse_of(r));
      if (std::isinf(largest) && fault != Fault::kCorrectEmptyNan) largest = 0.0;
      double sum = 0.0;
      for (int64_t r = 0; r < args.lses.extent(0); ++r) sum += std::exp(lse_of(r) - largest);
      double with_sink = sum;
      if (args.sinks.given() && fault != Fault::kCorrectIgnoreSinks) {
        with_sink += std::exp(Load(args.sinks, head) - largest);
      }
      const double lse = largest + std::log(fault == Fault::kCorrectSinkInLse ? with_sink : sum);
      const double own = lse_of(fault == Fault::kCorrectFirstRank ? 0 : args.rank);
      const double factor = own == -INFINITY ? 0.0 : std::exp(own - largest) / with_sink;
      const bool zero =
          factor == 0.0 && fault != Fault::kCorrectZeroTimesNan && fault != Fault::kCorrectEmptyNan;
      for (int64_t d = 0; d < args.out.extent(2); ++d) {
        const int64_t from =
            packed ? PackedIndex(args.out, row, head, d) : IndexOf(args.out, row, head, d);
        const double value = zero ? 0.0 : factor * Load(args.out, from);
        Store(args.corrected, IndexOf(args.corrected, row, head, d), static_cast<float>(value));
      }
      if (args.lse.given()) {
        Store(args.lse, IndexOf(args.lse, row, head), static_cast<float>(lse / unit));
      }
    }
  }
}

void RunMutantQuantize(const QuantizeFp8Args& args, Fault fault) {
  const TensorView& from = args.source;
  const TensorView& to = args.destination;
  Fp8Fault how = Fp8Fault::kNone;
  if (fault == Fault::kQuantizeOverflow) how = Fp8Fault::kOverflow;
  if (fault == Fault::kQuantizeTruncate) how = Fp8Fault::kTruncate;
  if (fault == Fault::kQuantizeAwayFromZero) how = Fp8Fault::kAwayFromZero;
  if (fault == Fault::kQuantizeFlush) how = Fp8Fault::kFlush;
  if (fault == Fault::kQuantizeNanZero) how = Fp8Fault::kNanZero;
  for (int64_t row = 0; row < from.extent(0); ++row) {
    for (int64_t head = 0; head < from.extent(1); ++head) {
      const float scale = args.scale * ValueOr(args.head_scales,
                                               fault == Fault::kQuantizeFirstHead ? 0 : head, 1.0f);
      for (int64_t d = 0; d < from.extent(2); ++d) {
        const float value =
            Load(from, fault == Fault::kQuantizePacked ? PackedIndex(from, row, head, d)
                                                       : IndexOf(from, row, head, d));
        float scaled = value / scale;
        if (fault == Fault::kQuantizeMultiply) scaled = value * scale;
        if (fault == Fault::kQuantizeReciprocal) scaled = value * (1.0f / scale);
        *At<uint8_t>(to.address(), IndexOf(to, row, head, d)) = ToFp8(to.dtype(), scaled, how);
      }
    }
  }
}

}  // namespace weft::testing
