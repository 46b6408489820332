// SPDX-License-Identifier: Apache-2.0
//
// For kernels that move bytes and know no elements: a type of so many bytes.
#ifndef WEFT_CUDA_KERNELS_BYTE_UNIT_CUH_
#define WEFT_CUDA_KERNELS_BYTE_UNIT_CUH_

#include <cstdint>

namespace weft::cuda {

template <int kBytes>
struct ByteUnit;
template <>
struct ByteUnit<16> {
  using type = uint4;
};
template <>
struct ByteUnit<4> {
  using type = uint32_t;
};
template <>
struct ByteUnit<2> {
  using type = uint16_t;
};
template <>
struct ByteUnit<1> {
  using type = uint8_t;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_BYTE_UNIT_CUH_
