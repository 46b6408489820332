// SPDX-License-Identifier: Apache-2.0
//
// The kernels that put the parts of a softmax together (core/queue.h): MergeStates, of two
// normalised states of the same rows, and CorrectAttnOut, one rank's output times its share.
//
// Grid:    x over (row, head), a group of 1 to 32 lanes for each (row_groups.h).
// Block:   kGroupThreads. Shared: none.
// Moves:   each input read once, the output written once; log-sum-exps: 12 bytes for each (row,
//          head) of a merge, 4 for each rank and 4 more of a correction.
// Holds:   an output may be an input itself, element for element: the lane that writes one has read
//          it before. A merge's lse may be a_lse or b_lse: a group has read both before it writes.
#ifndef WEFT_CUDA_KERNELS_STATES_STATES_H_
#define WEFT_CUDA_KERNELS_STATES_STATES_H_

#include "cuda/kernels/states/params.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// Start the kernel on the current device, as often as the rows need. Allocate nothing, wait for
// nothing.
cudaError_t LaunchMergeStates(const MergeStatesParams& params, cudaStream_t stream);
cudaError_t LaunchCorrectAttnOut(const CorrectAttnOutParams& params, cudaStream_t stream);

// Loads every instantiation of both onto the current device, so that no launch does.
// cudaErrorNoKernelImageForDevice: this program holds no code for the device.
cudaError_t LoadStates();

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_STATES_STATES_H_
