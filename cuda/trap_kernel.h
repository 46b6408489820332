// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_CUDA_TRAP_KERNEL_H_
#define WEFT_CUDA_TRAP_KERNEL_H_

#include "cuda_runtime_api.h"

namespace weft::cuda {

// Starts a kernel that stops with an error which no later call of the process gets rid of.
cudaError_t LaunchTrap(cudaStream_t stream);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_TRAP_KERNEL_H_
