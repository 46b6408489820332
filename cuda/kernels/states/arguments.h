// SPDX-License-Identifier: Apache-2.0
//
// From the arguments of Queue::MergeStates and Queue::CorrectAttnOut to those of the kernels.
#ifndef WEFT_CUDA_KERNELS_STATES_ARGUMENTS_H_
#define WEFT_CUDA_KERNELS_STATES_ARGUMENTS_H_

#include "absl/status/statusor.h"
#include "core/queue.h"
#include "cuda/kernels/states/params.h"

namespace weft::cuda {

// `args` are as the queue passes them on: checked, and not without rows and heads. OUT_OF_RANGE:
// more heads or ranks than 31 bits count.
absl::StatusOr<MergeStatesParams> MapMergeStates(const MergeStatesArgs& args);
absl::StatusOr<CorrectAttnOutParams> MapCorrectAttnOut(const CorrectAttnOutArgs& args);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_STATES_ARGUMENTS_H_
