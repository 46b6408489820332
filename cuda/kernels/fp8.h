// SPDX-License-Identifier: Apache-2.0
//
// fp8 codes and floats, and x / scale as a code: the bits of core/dtype.h, for host and device, in
// arithmetic that every architecture has. element.cuh takes the instructions of sm_89 and later
// where there are some.
#ifndef WEFT_CUDA_KERNELS_FP8_H_
#define WEFT_CUDA_KERNELS_FP8_H_

#include <cmath>
#include <cstdint>

#include "cuda/kernels/element_type.h"
#include "cuda/kernels/host_device.h"

namespace weft::cuda {

// Nearest, ties to even; saturated, infinities too; a NaN becomes 0x7f or 0xff. kE4M3 or kE5M2.
WEFT_HOST_DEVICE inline uint32_t Fp8OfFloat(ElementType type, float value) {
  const bool e5m2 = type == ElementType::kE5M2;
  const uint32_t bits = BitsOfFloat(value);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7fu;
  // Normal codes: rebias the exponent and round the bits that go. Smaller ones: shift the
  // significand with its hidden bit. A sum rounds into the next exponent by itself.
  const uint32_t drop = e5m2 ? 21u : 20u;
  const uint32_t bias = e5m2 ? 112u : 120u;  // by which the exponents differ
  uint32_t code = 0;
  if (magnitude < ((bias + 1u) << 23)) {
    const uint32_t distance = drop + 1u + bias - (magnitude >> 23);
    const uint32_t shift = distance < 25u ? distance : 25u;  // only 0 is left at 25 and beyond
    const uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    code = (significand + (1u << (shift - 1u)) - 1u + ((significand >> shift) & 1u)) >> shift;
  } else {
    const uint32_t rebased = magnitude - (bias << 23);
    code = (rebased + (1u << (drop - 1u)) - 1u + ((rebased >> drop) & 1u)) >> drop;
  }
  const uint32_t largest = e5m2 ? 0x7bu : 0x7eu;
  return sign | (code < largest ? code : largest);
}

// Exact.
WEFT_HOST_DEVICE inline float FloatOfFp8(ElementType type, uint32_t code) {
  const uint32_t sign = (code & 0x80u) << 24;
  const uint32_t magnitude = code & 0x7fu;
  // In the place of a float's exponent and significand the code is the value by a power of two too
  // small, denormals included; the product is exact.
  if (type == ElementType::kE5M2) {
    if (magnitude >= 0x7cu) return FloatOfBits(sign | 0x7f800000u | magnitude << 21);
    return FloatOfBits(sign | magnitude << 21) * 0x1p112f;
  }
  if (magnitude == 0x7fu) return FloatOfBits(sign | 0x7fc00000u);
  return FloatOfBits(sign | magnitude << 20) * 0x1p120f;
}

// x / scale for many x, as IEEE 754 rounds it wherever fp8 tells it from 0 and from the largest
// value: products in place of a division, since the reciprocal is shared.
struct Quotient {
  bool power;     // the scale is a power of two: x * inverse is the quotient
  float lift;     // a power of two, by which x and a very small or very large scale are multiplied
  float scale;    // lifted
  float inverse;  // nearest to 1 / scale, of the lifted one
};

// `scale` is positive and finite.
WEFT_HOST_DEVICE inline Quotient MakeQuotient(float scale) {
  // Lifted by as much, x is exact, or else so small or large that its code is 0 or the largest.
  const float lift = scale < 0x1p-60f ? 0x1p100f : scale > 0x1p60f ? 0x1p-100f : 1.0f;
  const bool power = (BitsOfFloat(scale) & 0x7fffffu) == 0 && lift == 1.0f;
  scale *= lift;
  return {power, lift, scale, 1.0f / scale};
}

WEFT_HOST_DEVICE inline float CorrectedQuotient(const Quotient& by, float x) {
  x *= by.lift;
  const float guess = x * by.inverse;
  // The first step makes the guess one of the two floats beside the quotient. Then the second
  // rounds correctly, because `inverse` does (Markstein 1990, theorem 8.5).
  const float beside = fmaf(fmaf(-by.scale, guess, x), by.inverse, guess);
  const float nearest = fmaf(fmaf(-by.scale, beside, x), by.inverse, beside);
  // Inside these bounds every remainder is exact. Beyond them, and for a NaN, the guess gives the
  // same code as the quotient: 0 with its sign, or the largest.
  const float magnitude = fabsf(guess);
  return magnitude > 0x1p-20f && magnitude < 0x1p20f ? nearest : guess;
}

// x, but no further from 0 than `most`; NaN for NaN.
WEFT_HOST_DEVICE inline float ClampOrNan(float x, float most) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
  float clamped;
  asm("min.NaN.xorsign.abs.f32 %0, %1, %2;" : "=f"(clamped) : "f"(x), "f"(most));
  return clamped;
#else
  return fabsf(x) > most ? copysignf(most, x) : x;
#endif
}

// Gives the codes of the quotient for x of at most 11 significant bits (f16, bf16) and a scale that
// is not lifted.
//
// It is the nearest float to q + e, where q = x / scale and |e| is below 2^-22 of q's last place.
// That is not the nearest float to q only if q lies within e of the middle between two floats, and
// then the code differs only if one of the two is a tie between codes: a number m of at most 5
// significant bits. Let X, B and M be the integers of x, scale and m, of 24 bits each, and q be
// X 2^k / B. Then the middle above m is M + 1/2, and |2 X 2^k - (2 M + 1) B| < 2^-22 2 B <= 8
// (below m: 2 M - 1). M is a multiple of 2^19, and X 2^k is one of 2^35, since X has 11 bits. So B
// is within 8 of a multiple of 2^20. For all these B a test tries all x.
//
// A guess so large that it is not finite would spoil the remainder; what is clamped comes out large
// enough again. The signs are such that of a zero the sign stays.
WEFT_HOST_DEVICE inline float BriefQuotient(const Quotient& by, float x) {
  const float guess = ClampOrNan(x * by.inverse, 0x1p20f);  // within 1.5 last places
  return fmaf(fmaf(by.scale, guess, -x), -by.inverse, guess);
}

// Of values that were numbers of `type`: kF32, kF16 or kBF16.
template <int kCount>
WEFT_HOST_DEVICE inline void DivideAll(const Quotient& by, ElementType type,
                                       float (&values)[kCount]) {
  if (by.power) {
    for (float& value : values) value *= by.inverse;
  } else if (type != ElementType::kF32 && by.lift == 1.0f) {
    for (float& value : values) value = BriefQuotient(by, value);
  } else {
    for (float& value : values) value = CorrectedQuotient(by, value);
  }
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_FP8_H_
