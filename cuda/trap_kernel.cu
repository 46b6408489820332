// SPDX-License-Identifier: Apache-2.0
#include "cuda/trap_kernel.h"

namespace weft::cuda {
namespace {

__global__ void TrapKernel() { asm volatile("trap;"); }

}  // namespace

cudaError_t LaunchTrap(cudaStream_t stream) {
  TrapKernel<<<1, 1, 0, stream>>>();
  return cudaGetLastError();
}

}  // namespace weft::cuda
