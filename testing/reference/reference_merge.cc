// SPDX-License-Identifier: Apache-2.0
//
// The two operations that put the parts of a softmax together.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/queue.h"
#include "testing/reference/host_memory.h"
#include "testing/reference/reference_operations.h"
#include "testing/reference/rounding.h"

namespace weft {
namespace {

template <typename T>
constexpr T kEmpty = -std::numeric_limits<T>::infinity();

// The address of element (row, head, 0) of [rows, heads, dims].
uint8_t* Place(const TensorView& view, int64_t row, int64_t head) {
  return HostPointer<uint8_t>(
      view.address(), (row * view.stride(0) + head * view.stride(1)) * SizeOf(view.dtype()));
}

// Element (row, head) of f32 [rows, heads].
float& At(const TensorView& view, int64_t row, int64_t head) {
  return *HostPointer<float>(view.address(), (row * view.stride(0) + head * view.stride(1)) * 4);
}

template <typename T>
T SinkOf(const TensorView& sinks, int64_t head) {
  return sinks.given() ? static_cast<T>(HostPointer<const float>(sinks.address())[head])
                       : kEmpty<T>;
}

// exp(value - origin), and 0 for a value of -inf whatever the origin.
template <typename T>
T Weight(T value, T origin) {
  return value == kEmpty<T> ? T{0} : std::exp(value - origin);
}

// The seed's kernel marks an empty state with either infinity.
template <typename T>
T StateLse(const TensorView& lse, int64_t row, int64_t head) {
  const float value = At(lse, row, head);
  return std::isinf(value) ? kEmpty<T> : static_cast<T>(value);
}

template <typename T>
void MergeHead(const MergeStatesArgs& args, int64_t row, int64_t head) {
  const T a_lse = StateLse<T>(args.a_lse, row, head);
  const T b_lse = StateLse<T>(args.b_lse, row, head);
  const T sink = SinkOf<T>(args.sinks, head);
  const bool has_a = a_lse != kEmpty<T>, has_b = b_lse != kEmpty<T>;
  const T maximum = std::max(a_lse, b_lse);
  const T largest = std::max(maximum, sink);
  const T a_weight = Weight(a_lse, largest), b_weight = Weight(b_lse, largest);
  const T divisor = a_weight + b_weight + Weight(sink, largest);
  const uint8_t* const a = Place(args.a, row, head);
  const uint8_t* const b = Place(args.b, row, head);
  uint8_t* const out = Place(args.out, row, head);
  for (int64_t d = 0; d < args.out.extent(2); ++d) {
    // What is empty is not even looked at: it may hold anything.
    T sum = 0;
    if (has_a) sum = static_cast<T>(LoadFloat(args.a.dtype(), a, d)) * a_weight;
    if (has_b) {
      const T term = static_cast<T>(LoadFloat(args.b.dtype(), b, d)) * b_weight;
      sum = has_a ? sum + term : term;
    }
    if (has_a || has_b) sum /= divisor;
    StoreRounded(args.out.dtype(), out, d,
                 static_cast<double>(sum / static_cast<T>(args.out_scale)));
  }
  if (!args.lse.given()) return;
  T lse = kEmpty<T>;
  if (has_a || has_b) {
    lse = maximum + std::log(Weight(a_lse, maximum) + Weight(b_lse, maximum));
  }
  At(args.lse, row, head) = static_cast<float>(lse);
}

template <typename T>
void CorrectHead(const CorrectAttnOutArgs& args, int64_t row, int64_t head) {
  const bool base2 = args.base == LseBase::k2;
  const auto power = [base2](T x) { return base2 ? std::exp2(x) : std::exp(x); };
  const auto lse_of = [&](int64_t rank) {
    const float value = *HostPointer<float>(
        args.lses.address(),
        (rank * args.lses.stride(0) + row * args.lses.stride(1) + head * args.lses.stride(2)) * 4);
    return std::isfinite(value) ? static_cast<T>(value) : kEmpty<T>;
  };
  T maximum = kEmpty<T>;
  for (int64_t rank = 0; rank < args.lses.extent(0); ++rank) {
    maximum = std::max(maximum, lse_of(rank));
  }
  const bool empty = maximum == kEmpty<T>;
  T sum = 0;
  for (int64_t rank = 0; !empty && rank < args.lses.extent(0); ++rank) {
    if (lse_of(rank) != kEmpty<T>) sum += power(lse_of(rank) - maximum);
  }
  T factor = 0;
  if (const T own = lse_of(args.rank); own != kEmpty<T>) {
    const T kLog2E = static_cast<T>(1.4426950408889634);
    const T sink = SinkOf<T>(args.sinks, head) * (base2 ? kLog2E : T{1});
    const T largest = std::max(maximum, sink);
    const T share = sink == kEmpty<T> ? T{0} : power(sink - largest);
    factor = power(own - largest) / (sum * power(maximum - largest) + share);
  }
  const int64_t in_size = SizeOf(args.out.dtype());
  const uint8_t* const out = Place(args.out, row, head);
  uint8_t* const corrected = Place(args.corrected, row, head);
  for (int64_t d = 0; d < args.out.extent(2); ++d) {
    const T value =
        static_cast<T>(LoadFloat(args.out.dtype(), out + d * args.out.stride(2) * in_size, 0));
    StoreRounded(args.corrected.dtype(), corrected, d * args.corrected.stride(2),
                 factor == T{0} ? 0.0 : static_cast<double>(value * factor));
  }
  if (!args.lse.given()) return;
  At(args.lse, row, head) =
      static_cast<float>(empty ? kEmpty<T> : maximum + (base2 ? std::log2(sum) : std::log(sum)));
}

}  // namespace

void RunMergeStates(const MergeStatesArgs& args, Precision precision) {
  for (int64_t row = 0; row < args.a.extent(0); ++row) {
    for (int64_t head = 0; head < args.a.extent(1); ++head) {
      precision == Precision::kFloat32 ? MergeHead<float>(args, row, head)
                                       : MergeHead<double>(args, row, head);
    }
  }
}

void RunCorrectAttnOut(const CorrectAttnOutArgs& args, Precision precision) {
  for (int64_t row = 0; row < args.out.extent(0); ++row) {
    for (int64_t head = 0; head < args.out.extent(1); ++head) {
      precision == Precision::kFloat32 ? CorrectHead<float>(args, row, head)
                                       : CorrectHead<double>(args, row, head);
    }
  }
}

}  // namespace weft
