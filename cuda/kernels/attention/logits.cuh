// SPDX-License-Identifier: Apache-2.0
//
// Logits in fragments of mma.sync: their shaping (softcap, ALiBi), the mask, and the running
// softmax.
//
// A result's bits must not depend on the tile that a row stands in (design.md, semantics 11). So a
// row's state after a block of keys depends on the row and the block alone: blocks lie at absolute
// positions, sums are taken in one order, and a block that a row does not see leaves its state as
// it is. What is masked is selected away, never multiplied with 0: stale memory may hold NaN.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_LOGITS_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_LOGITS_CUH_

#include <cstdint>

#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/ptx.cuh"

namespace weft::cuda {

inline constexpr float kLog2E = 1.44269504088896340736f;

__device__ inline float MinusInfinity() { return __uint_as_float(0xff800000u); }

// What is subtracted from logits of which `max` is the largest.
__device__ inline float Origin(float max) { return max == MinusInfinity() ? 0.0f : max; }

__device__ inline float LoadOptional(uint64_t array, int index, float otherwise) {
  return array == 0 ? otherwise : __ldg(reinterpret_cast<const float*>(array) + index);
}

// tanh with a small relative error everywhere, which tanh.approx has not: a large softcap must
// change nearly nothing.
__device__ inline float Tanh(float x) {
  const float size = fabsf(x);
  const float square = x * x;
  // The series up to x^11, for |x| < 0.35: what is left out is below an ulp.
  float series = fmaf(square, -1382.0f / 155925.0f, 62.0f / 2835.0f);
  series = fmaf(square, series, -17.0f / 315.0f);
  series = fmaf(square, series, 2.0f / 15.0f);
  series = fmaf(square, series, -1.0f / 3.0f);
  const float near = fmaf(series * square, x, x);
  // Of NaN fminf makes 20; it takes the other branch below.
  const float power = Exp2(fminf(size, 20.0f) * (2.0f * kLog2E));
  const float far = copysignf(fmaf(-2.0f, Reciprocal(power + 1.0f), 1.0f), x);
  return size >= 0.35f ? far : near;
}

inline constexpr float kLargeSoftcap = 64.0f;

// How logits come from products: constant for a block of threads.
//
// Logits stay in units of the products (the natural logit is product * scale), so that what comes
// after multiplies with one factor whether logits were shaped or not, and slopes of 0 change no
// bit.
struct LogitScale {
  float scale;
  float factor;  // scale * log2(e): to units of log2
  float product_of_logit;
  bool shaped;  // softcap or ALiBi

  __device__ static LogitScale Of(const AttentionParams& p, int kv_head) {
    LogitScale s;
    s.scale = p.scale * LoadOptional(p.k_scales, kv_head, 1.0f);
    s.factor = s.scale * kLog2E;
    s.product_of_logit = 1.0f / s.scale;
    s.shaped = p.softcap != 0.0f || p.alibi_slopes != 0;
    return s;
  }

  // Products to products that stand for the softcapped logits.
  template <int kCount>
  __device__ void Cap(const AttentionParams& p, float (&products)[kCount]) const {
    if (p.softcap > kLargeSoftcap) return CapExactly(p, products);
    const float cap = p.softcap * product_of_logit;
    const float power = PowerOf(p);
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      products[i] = fmaf(-2.0f * cap, Reciprocal(Exp2(products[i] * power) + 1.0f), cap);
  }
  // For any cap.
  template <int kCount>
  __device__ void CapExactly(const AttentionParams& p, float (&products)[kCount]) const {
    const float cap = p.softcap * product_of_logit;
    const float inverse = scale * p.inverse_softcap;
#pragma unroll
    for (int i = 0; i < kCount; ++i) products[i] = cap * Tanh(products[i] * inverse);
  }
  // For caps up to kLargeSoftcap, and four products of one row: one reciprocal for the four, since
  // special functions are what a softcap waits for. One that is NaN makes all four NaN, so what the
  // row does not see must have been masked.
  __device__ void CapFour(const AttentionParams& p, float (&products)[4]) const {
    // From 2^30 on tanh is 1; four times 30 is in the range of a float.
    constexpr float kSaturated = 30.0f;
    const float cap = p.softcap * product_of_logit;
    const float power = PowerOf(p);
    float d[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) d[i] = Exp2(MinOrNan(products[i] * power, kSaturated)) + 1.0f;
    const float first = d[0] * d[1];
    const float last = d[2] * d[3];
    const float all = -2.0f * cap * Reciprocal(first * last);
    const float of_first = all * last;  // -2 cap / first
    const float of_last = all * first;
    products[0] = fmaf(of_first, d[1], cap);
    products[1] = fmaf(of_first, d[0], cap);
    products[2] = fmaf(of_last, d[3], cap);
    products[3] = fmaf(of_last, d[2], cap);
  }
  // tanh(x) = 1 - 2 / (e^2x + 1), good to 2^-22 or so: of a cap up to kLargeSoftcap that is
  // nothing. e^2x is 2 to the power of so many times the product.
  __device__ float PowerOf(const AttentionParams& p) const {
    return factor * p.inverse_softcap * 2.0f;
  }
  // `distance` is the key's position less the row's.
  __device__ float Bias(float product, float slope, float distance) const {
    return fmaf(slope * product_of_logit, distance, product);
  }

  // A maximum as a natural logit; `row_scale` as below.
  __device__ float Natural(float max, float row_scale) const { return max * (scale * row_scale); }
};

// Which keys a row sees: [first, first + count).
struct VisibleKeys {
  int first;
  uint32_t count;

  __device__ static VisibleKeys Of(const AttentionParams& p, int position, int num_keys) {
    const int end = min(position + 1, num_keys);
    const int first = max(position - p.window + 1, 0);
    return {first, static_cast<uint32_t>(max(end - first, 0))};
  }
  // Below `first` the difference wraps around to a large number.
  __device__ bool Has(int key) const { return static_cast<uint32_t>(key - first) < count; }
};

// The largest number among the four lanes that hold a row.
__device__ inline float QuadMax(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ inline float QuadSum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// Of all lanes.
__device__ inline float WarpMax(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lane));
  return x;
}
__device__ inline float WarpSum(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(~0u, x, lane);
  return x;
}

// The softmax of the rows of kRowTiles fragments of 16 rows. A lane holds of each fragment rows
// lane / 4 and that + 8: row 2 * m and 2 * m + 1 here.
template <int kRowTiles>
struct RunningSoftmax {
  static constexpr int kRows = 2 * kRowTiles;
  float max[kRows];  // in units of the products
  float sum[kRows];  // of the weights of this lane's keys

  __device__ void Start() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      max[r] = MinusInfinity();
      sum[r] = 0.0f;
    }
  }

  // Takes in a block of logits and leaves weights in their place. factors[r] as in LogitScale.
  //
  // `max` follows the largest logit only when that has grown by kSlack: weights up to 2^kSlack do
  // no harm, and earlier sums are multiplied seldom. Then rescale(r, by) is called for each row.
  template <int kKeyTiles, typename Rescale>
  __device__ void Update(float (&s)[kRowTiles][kKeyTiles][4], const float (&factors)[kRows],
                         const Rescale& rescale) {
    float largest[kRows];
    bool grows = false;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int m = r >> 1;
      const int e = (r & 1) * 2;
      largest[r] = fmaxf(s[m][0][e], s[m][0][e + 1]);
#pragma unroll
      for (int n = 1; n < kKeyTiles; ++n)
        largest[r] = fmaxf(largest[r], fmaxf(s[m][n][e], s[m][n][e + 1]));
      grows |= Grows(r, largest[r], factors[r]);
    }
    if (__any_sync(~0u, grows)) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float of_row = QuadMax(largest[r]);
        const float now = Grows(r, of_row, factors[r]) ? of_row : max[r];
        const float by = now == max[r] ? 1.0f : Exp2((max[r] - Origin(now)) * factors[r]);
        max[r] = now;
        sum[r] *= by;
        rescale(r, by);
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int m = r >> 1;
      const int e = (r & 1) * 2;
      // Differences first: a row that sees one key gives its value, to the last bit.
      const float origin = Origin(max[r]);
      float total = 0.0f;
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
        s[m][n][e] = Exp2((s[m][n][e] - origin) * factors[r]);
        s[m][n][e + 1] = Exp2((s[m][n][e + 1] - origin) * factors[r]);
        total += s[m][n][e] + s[m][n][e + 1];
      }
      sum[r] += total;
    }
  }

 private:
  static constexpr float kSlack = 8.0f;  // in units of log2
  __device__ bool Grows(int r, float largest, float factor) const {
    return (largest - max[r]) * factor > kSlack;
  }
};

// Weights as the left operand of the next product: keys [16 k, 16 k + 16) of row fragment m.
template <typename T, int kRowTiles, int kKeyTiles>
__device__ inline void WeightFragment(const float (&s)[kRowTiles][kKeyTiles][4], int m, int k,
                                      uint32_t (&a)[4]) {
  a[0] = PackPair<T>(s[m][2 * k][0], s[m][2 * k][1]);
  a[1] = PackPair<T>(s[m][2 * k][2], s[m][2 * k][3]);
  a[2] = PackPair<T>(s[m][2 * k + 1][0], s[m][2 * k + 1][1]);
  a[3] = PackPair<T>(s[m][2 * k + 1][2], s[m][2 * k + 1][3]);
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_LOGITS_CUH_
