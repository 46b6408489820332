// SPDX-License-Identifier: Apache-2.0
//
// From the arguments of Queue::GatherRows to those of the kernel's launches.
#ifndef WEFT_CUDA_KERNELS_GATHER_ROWS_ARGUMENTS_H_
#define WEFT_CUDA_KERNELS_GATHER_ROWS_ARGUMENTS_H_

#include "absl/status/statusor.h"
#include "core/queue.h"
#include "cuda/kernels/gather_rows/params.h"

namespace weft::cuda {

struct GatherRowsLaunch {
  int unit_bytes = 0;  // one of kGatherUnitBytes
  GatherRowsParams params = {};
};

// `args` are as Queue::GatherRows passes them on: checked, with at least one element.
// OUT_OF_RANGE: a row of more parts than 31 bits count.
absl::StatusOr<GatherRowsLaunch> MapGatherRows(const GatherRowsArgs& args);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_GATHER_ROWS_ARGUMENTS_H_
