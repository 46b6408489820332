// SPDX-License-Identifier: Apache-2.0
//
// How a kernel cuts rows among threads: a *group* of lanes of one warp takes one item (a row, a
// head of a row, a part of a row), so many that each lane has as many accesses in flight as the
// kernel wants. Host code that the kernels' CPU tests run too.
#ifndef WEFT_CUDA_KERNELS_ROW_GROUPS_H_
#define WEFT_CUDA_KERNELS_ROW_GROUPS_H_

#include <cstdint>

#include "cuda/kernels/host_device.h"

namespace weft::cuda {

inline constexpr int kGroupThreads = 256;  // of a block

// log2 of the lanes, 0 to 5: no more than `vectors` of them need if each takes `in_flight`.
inline int LanesLog2(int64_t vectors, int in_flight) {
  int log2 = 0;
  while (log2 < 5 && (int64_t{in_flight} << log2) < vectors) ++log2;
  return log2;
}

inline constexpr int64_t kMaxItems = INT32_MAX;  // of a launch: what Divide takes

// Rows of a launch, if each has `items_per_row`, 1 to kMaxItems. More rows take more launches.
inline int64_t RowsOfLaunch(int64_t items_per_row) { return kMaxItems / items_per_row; }

inline uint32_t BlocksOfItems(uint32_t items, int lanes_log2) {
  const uint32_t items_per_block = kGroupThreads >> lanes_log2;
  return (items - 1) / items_per_block + 1;
}

struct GroupPlace {
  uint32_t item;  // may lie behind the last one
  uint32_t lane;
};

WEFT_HOST_DEVICE inline GroupPlace PlaceOfThread(uint32_t block, uint32_t thread, int lanes_log2) {
  const uint32_t items_per_block = kGroupThreads >> lanes_log2;
  return {block * items_per_block + (thread >> lanes_log2), thread & ((1u << lanes_log2) - 1u)};
}

// In bytes. The stride of an axis of one element is never used, so it may be any number: it must
// neither overflow nor spoil the alignment.
inline int64_t StrideBytes(int64_t extent, int64_t stride, int64_t element_bytes) {
  return extent > 1 ? stride * element_bytes : 0;
}

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ROW_GROUPS_H_
