// SPDX-License-Identifier: Apache-2.0
//
// Elements of queries, keys, values and outputs on the device: one at a time, or 16 bytes of them;
// the type is a value, and folds away where it is a constant. From float they are rounded to
// nearest even; the fp8 types saturate, infinities too. As core/dtype.h, but a NaN made f16 or bf16
// is 0x7fff, and one made fp8 may be 0x7f or 0xff: so the instructions have it.
#ifndef WEFT_CUDA_KERNELS_ELEMENT_CUH_
#define WEFT_CUDA_KERNELS_ELEMENT_CUH_

#include <cstdint>

#include "cuda/kernels/element_type.h"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/host_device.h"

namespace weft::cuda {

__device__ __forceinline__ float FloatOfHalf(uint32_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<uint16_t>(bits)));
  return value;
}

__device__ __forceinline__ float FloatOfBFloat(uint32_t bits) {
  return __uint_as_float(bits << 16);
}

// Two elements in a word, `low` in its lower half.
__device__ __forceinline__ uint32_t HalvesOfFloats(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ uint32_t BFloatsOfFloats(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// Two fp8 codes in the lower half of a word, `low` in its lowest byte.
__device__ __forceinline__ uint32_t Fp8sOfFloats(ElementType type, float low, float high) {
#if __CUDA_ARCH__ >= 890
  uint16_t pair;
  if (type == ElementType::kE5M2) {
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  }
  return pair;
#else
  return Fp8OfFloat(type, low) | Fp8OfFloat(type, high) << 8;
#endif
}

__device__ __forceinline__ uint32_t PairOfFloats(ElementType type, float low, float high) {
  return type == ElementType::kBF16 ? BFloatsOfFloats(low, high) : HalvesOfFloats(low, high);
}

__device__ __forceinline__ float LoadElement(ElementType type, uint64_t address) {
  switch (type) {
    case ElementType::kF16:
      return FloatOfHalf(LoadGlobal<uint16_t>(address));
    case ElementType::kBF16:
      return FloatOfBFloat(LoadGlobal<uint16_t>(address));
    case ElementType::kE4M3:
    case ElementType::kE5M2:
      return FloatOfFp8(type, LoadGlobal<uint8_t>(address));
    default:
      return LoadGlobal<float>(address);
  }
}

__device__ __forceinline__ void StoreElement(ElementType type, uint64_t address, float value) {
  switch (type) {
    case ElementType::kF16:
    case ElementType::kBF16:
      StoreGlobal(address, static_cast<uint16_t>(PairOfFloats(type, value, 0.0f)));
      break;
    case ElementType::kE4M3:
    case ElementType::kE5M2:
      StoreGlobal(address, static_cast<uint8_t>(Fp8sOfFloats(type, value, 0.0f)));
      break;
    default:
      StoreGlobal(address, value);
  }
}

// As many words as 4 or 8 elements fill, in one access.
template <int kWords>
__device__ __forceinline__ void StoreWords(uint64_t address, const uint32_t (&words)[kWords]) {
  if constexpr (kWords == 4) {
    StoreGlobal(address, make_uint4(words[0], words[1], words[2], words[3]));
  } else if constexpr (kWords == 2) {
    StoreGlobal(address, make_uint2(words[0], words[1]));
  } else {
    StoreGlobal(address, words[0]);
  }
}

template <int kCount>
__device__ __forceinline__ void StorePairs(ElementType type, uint64_t address,
                                           const float (&values)[kCount]) {
  uint32_t words[kCount / 2];
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    words[i] = PairOfFloats(type, values[2 * i], values[2 * i + 1]);
  }
  StoreWords(address, words);
}

template <int kCount>
__device__ __forceinline__ void StoreQuads(ElementType type, uint64_t address,
                                           const float (&values)[kCount]) {
  uint32_t words[kCount / 4];
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i) {
    words[i] = Fp8sOfFloats(type, values[4 * i], values[4 * i + 1]) |
               Fp8sOfFloats(type, values[4 * i + 2], values[4 * i + 3]) << 16;
  }
  StoreWords(address, words);
}

// kCount adjacent elements, 4 or 8, at a multiple of the least of 16 and their bytes. One branch
// for all of them, even where the type is not known before.
template <int kCount>
__device__ __forceinline__ void StoreElements(ElementType type, uint64_t address,
                                              const float (&values)[kCount]) {
  static_assert(kCount == 4 || kCount == 8);
  switch (type) {
    case ElementType::kF16:
      return StorePairs(ElementType::kF16, address, values);
    case ElementType::kBF16:
      return StorePairs(ElementType::kBF16, address, values);
    case ElementType::kE4M3:
      return StoreQuads(ElementType::kE4M3, address, values);
    case ElementType::kE5M2:
      return StoreQuads(ElementType::kE5M2, address, values);
    default:
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        StoreGlobal(address + i * 4,
                    make_float4(values[i], values[i + 1], values[i + 2], values[i + 3]));
      }
  }
}

// How a thread takes a row that it may read 16 bytes at a time: Load has the bytes, which many
// calls can have in flight together, and Widen the numbers.
template <ElementType kType>
struct WholeVector {
  static constexpr int kCount = 16 / ElementBytes(kType);
  static_assert(kCount <= 8, "f32, f16 or bf16");
  using Raw = uint4;

  // `type`, where it is not known before.
  static __device__ __forceinline__ ElementType TypeOr(ElementType) { return kType; }
  static __device__ __forceinline__ Raw Load(ElementType, uint64_t address) {
    return LoadGlobal<uint4>(address);
  }
  static __device__ __forceinline__ void Widen(const Raw& raw, float (&values)[kCount]) {
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if constexpr (kType == ElementType::kF32) {
        values[i] = __uint_as_float(words[i]);
      } else if constexpr (kType == ElementType::kBF16) {
        values[i] = __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
      } else {
        values[i] = FloatOfHalf(i % 2 == 0 ? words[i / 2] & 0xffffu : words[i / 2] >> 16);
      }
    }
  }
  static __device__ __forceinline__ void Store(ElementType type, uint64_t address,
                                               const float (&values)[kCount]) {
    StoreElements(type, address, values);
  }
  // kE4M3 or kE5M2.
  static __device__ __forceinline__ void StoreFp8(ElementType type, uint64_t address,
                                                  const float (&values)[kCount]) {
    if (type == ElementType::kE5M2) {
      StoreQuads(ElementType::kE5M2, address, values);
    } else {
      StoreQuads(ElementType::kE4M3, address, values);
    }
  }
};

// And one that it may not.
struct OneElement {
  static constexpr int kCount = 1;
  using Raw = float;

  static __device__ __forceinline__ ElementType TypeOr(ElementType type) { return type; }
  static __device__ __forceinline__ Raw Load(ElementType type, uint64_t address) {
    return LoadElement(type, address);
  }
  static __device__ __forceinline__ void Widen(const Raw& raw, float (&values)[1]) {
    values[0] = raw;
  }
  static __device__ __forceinline__ void Store(ElementType type, uint64_t address,
                                               const float (&values)[1]) {
    StoreElement(type, address, values[0]);
  }
  static __device__ __forceinline__ void StoreFp8(ElementType type, uint64_t address,
                                                  const float (&values)[1]) {
    StoreGlobal(address, static_cast<uint8_t>(Fp8sOfFloats(type, values[0], 0.0f)));
  }
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ELEMENT_CUH_
