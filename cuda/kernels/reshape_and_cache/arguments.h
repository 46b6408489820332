// SPDX-License-Identifier: Apache-2.0
//
// From the arguments of Queue::ReshapeAndCache to those of the kernel's launches.
#ifndef WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_ARGUMENTS_H_
#define WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_ARGUMENTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/queue.h"
#include "cuda/kernels/reshape_and_cache/params.h"

namespace weft::cuda {

struct ReshapeAndCacheLaunches {
  bool quantize = false;  // into an fp8 cache
  int unit_bytes = 0;     // one of kReshapeUnitBytes, if copied
  bool whole = false;     // if quantised: units of 16 bytes as read, else of one element
  // One for each kReshapeMaxSegments segments of the cache; they differ in their segments only, and
  // may run in any order. Empty if the cache has no block: then no slot is inside it.
  std::vector<ReshapeAndCacheParams> params;
};

// `args` are as Queue::ReshapeAndCache passes them on: checked, with at least one slot.
// OUT_OF_RANGE: a row of 2^31 units or more, since the kernel counts them in 32 bits.
absl::StatusOr<ReshapeAndCacheLaunches> MapReshapeAndCache(const ReshapeAndCacheArgs& args);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_ARGUMENTS_H_
