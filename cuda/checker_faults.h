// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_CUDA_CHECKER_FAULTS_H_
#define WEFT_CUDA_CHECKER_FAULTS_H_

#include "cuda_runtime_api.h"

namespace weft::cuda {

// What each checker of compute-sanitizer is there for.
enum class CheckerFault {
  kPastTheEnd,     // memcheck: a word is written behind an allocation
  kNoBarrier,      // racecheck: a thread reads what another writes to shared memory
  kUninitialised,  // initcheck: a word is read that nobody wrote
  kHalfABarrier,   // synccheck: the halves of a warp come to different barriers
};

// Starts a kernel with the fault, of one block. `words`: 32 of device memory, as cudaMalloc gave
// them.
cudaError_t LaunchCheckerFault(CheckerFault fault, unsigned* words);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_CHECKER_FAULTS_H_
