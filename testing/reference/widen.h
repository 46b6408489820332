// SPDX-License-Identifier: Apache-2.0
//
// Reads runs of elements of any float type as float or double.
#ifndef WEFT_TESTING_REFERENCE_WIDEN_H_
#define WEFT_TESTING_REFERENCE_WIDEN_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "core/kv_cache.h"

namespace weft {

// The values of all codes of a type of one or two bytes: a look-up is many times faster than the
// exact software conversion. Null for f32.
const float* ValuesOfCodes(DType dtype);

// target[i * target_stride] = source[i * source_stride], for `count` elements of `dtype`.
template <typename T>
void Widen(DType dtype, const uint8_t* source, int64_t count, int64_t source_stride, T* target,
           int64_t target_stride) {
  const float* const values = ValuesOfCodes(dtype);
  const int64_t size = SizeOf(dtype);
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* const at = source + i * source_stride * size;
    float value;
    if (size == 4) {
      std::memcpy(&value, at, 4);
    } else if (size == 2) {
      uint16_t code;
      std::memcpy(&code, at, 2);
      value = values[code];
    } else {
      value = values[*at];
    }
    target[i * target_stride] = static_cast<T>(value);
  }
}

// All dimensions of a head, from its dimension 0 at `source`.
template <typename T>
void WidenHead(DType dtype, const uint8_t* source, int64_t head_size, const KvStrides& strides,
               T* target, int64_t target_stride) {
  if (strides.inner == 0) return Widen<T>(dtype, source, head_size, 1, target, target_stride);
  if (strides.inner == 1) {
    return Widen<T>(dtype, source, head_size, strides.split, target, target_stride);
  }
  for (int64_t d = 0; d < head_size; d += strides.inner) {
    const int64_t count = std::min(strides.inner, head_size - d);
    Widen<T>(dtype, source + DimOffset(strides, d) * SizeOf(dtype), count, 1,
             target + d * target_stride, target_stride);
  }
}

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_WIDEN_H_
