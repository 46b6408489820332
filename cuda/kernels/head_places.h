// SPDX-License-Identifier: Apache-2.0
//
// HeadPlaces: where a kernel finds what belongs to a (row, head). No CUDA header.
#ifndef WEFT_CUDA_KERNELS_HEAD_PLACES_H_
#define WEFT_CUDA_KERNELS_HEAD_PLACES_H_

#include <cstdint>

#include "cuda/kernels/host_device.h"

namespace weft::cuda {

// Strides in bytes.
struct HeadPlaces {
  uint64_t address;  // 0: not given
  int64_t row_stride;
  int64_t head_stride;
};

WEFT_HOST_DEVICE inline uint64_t PlaceOf(const HeadPlaces& places, uint32_t row, uint32_t head) {
  return places.address + row * places.row_stride + head * places.head_stride;
}

inline void SkipRows(HeadPlaces& places, int64_t rows) {
  if (places.address != 0) places.address += static_cast<uint64_t>(rows * places.row_stride);
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_HEAD_PLACES_H_
