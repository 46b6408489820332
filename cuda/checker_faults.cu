// SPDX-License-Identifier: Apache-2.0
#include "cuda/checker_faults.h"

namespace weft::cuda {
namespace {

constexpr unsigned kThreads = 64;
constexpr unsigned kWords = 32;

__global__ void PastTheEnd(unsigned* words) {
  if (threadIdx.x < kWords) words[threadIdx.x + 1] = threadIdx.x;
}

__global__ void NoBarrier(unsigned* words) {
  __shared__ unsigned shared[kThreads];
  shared[threadIdx.x] = threadIdx.x;
  // Here it is missing.
  if (threadIdx.x < kWords) words[threadIdx.x] = shared[kThreads - 1 - threadIdx.x];
}

__global__ void Uninitialised(unsigned* words) {
  if (threadIdx.x == 0) words[0] = words[kWords - 1] + 1;
}

__global__ void HalfABarrier(unsigned* words) {
  // Each half of a warp comes to a barrier of its own.
  if (threadIdx.x % 32 < 16) {
    asm volatile("barrier.sync.aligned 0;" ::: "memory");
    words[threadIdx.x % kWords] = 1;
  } else {
    words[threadIdx.x % kWords] = 2;
    asm volatile("barrier.sync.aligned 0;" ::: "memory");
  }
}

}  // namespace

cudaError_t LaunchCheckerFault(CheckerFault fault, unsigned* words) {
  switch (fault) {
    case CheckerFault::kPastTheEnd:
      PastTheEnd<<<1, kThreads>>>(words);
      break;
    case CheckerFault::kNoBarrier:
      NoBarrier<<<1, kThreads>>>(words);
      break;
    case CheckerFault::kUninitialised:
      Uninitialised<<<1, kThreads>>>(words);
      break;
    case CheckerFault::kHalfABarrier:
      HalfABarrier<<<1, kThreads>>>(words);
      break;
  }
  return cudaGetLastError();
}

}  // namespace weft::cuda
