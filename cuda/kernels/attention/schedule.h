// SPDX-License-Identifier: Apache-2.0
//
// How the granules of decode rows are dealt out to blocks of threads. Host code, no CUDA header.
// Results do not depend on it (partial.cuh).
#ifndef WEFT_CUDA_KERNELS_ATTENTION_SCHEDULE_H_
#define WEFT_CUDA_KERNELS_ATTENTION_SCHEDULE_H_

#include <cstdint>

namespace weft::cuda {

struct DecodeDevice {
  int multiprocessors = 1;
  // Warps of a block: where there is work for all multiprocessors, and where there is not.
  int min_warps = 1;
  int max_warps = 1;
  int blocks_of_multiprocessor = 1;  // that it holds at once, of min_warps
};

struct DecodeWorkload {
  int64_t splits = 0;           // table entries: granules of rows
  int64_t blocks_of_split = 1;  // kv heads times chunks of query heads
  bool padded = false;          // as few as none of the splits, the first ones, may be there
};

struct DecodeSchedule {
  int warps = 1;            // of a block
  int64_t unit_splits = 1;  // of a long unit, at most kMaxUnit
  int64_t long_units = 0;   // from the first split on; the last may be shorter; then single splits
  int64_t blocks = 0;       // of the grid: units times blocks_of_split
};

// All numbers of `device` and `work` at least 1. Cannot fail; a launch checks that the grid is one
// (arguments.cc bounds splits * blocks_of_split by 31 bits).
DecodeSchedule ScheduleDecode(const DecodeDevice& device, const DecodeWorkload& work);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_SCHEDULE_H_
