// SPDX-License-Identifier: Apache-2.0
//
// What lets one header serve kernels and the CPU tests of their arithmetic. No CUDA header.
#ifndef WEFT_CUDA_KERNELS_HOST_DEVICE_H_
#define WEFT_CUDA_KERNELS_HOST_DEVICE_H_

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define WEFT_HOST_DEVICE __host__ __device__
#else
#define WEFT_HOST_DEVICE
#endif

namespace weft::cuda {

WEFT_HOST_DEVICE inline uint32_t BitsOfFloat(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
#endif
}

WEFT_HOST_DEVICE inline float FloatOfBits(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float value = 0.0f;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
#endif
}

// An address is a number in the argument blocks. A compiler that does not know such a pointer for
// one to global memory takes slower instructions, for it might be one to shared memory: so it is
// told.
//
// `address` is a multiple of alignof(T) on the device; on the host it may be any.
template <typename T>
WEFT_HOST_DEVICE inline T LoadGlobal(uint64_t address) {
#ifdef __CUDA_ARCH__
  return *static_cast<const T*>(__cvta_global_to_generic(address));
#else
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof(T));
  return value;
#endif
}

template <typename T>
WEFT_HOST_DEVICE inline void StoreGlobal(uint64_t address, const T& value) {
#ifdef __CUDA_ARCH__
  *static_cast<T*>(__cvta_global_to_generic(address)) = value;
#else
  std::memcpy(reinterpret_cast<void*>(address), &value, sizeof(T));
#endif
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_HOST_DEVICE_H_
