// SPDX-License-Identifier: Apache-2.0
//
// checker_faults memcheck|racecheck|initcheck|synccheck -- runs a kernel with a fault that this
// checker of compute-sanitizer must see. tools/gpu_run.sh takes it along: a checker that is silent
// over it proves nothing by being silent over weft.
#include <cstdio>
#include <string_view>

#include "cuda/checker_faults.h"
#include "cuda_runtime_api.h"

namespace {

using weft::cuda::CheckerFault;

struct Name {
  std::string_view checker;
  CheckerFault fault;
};
constexpr Name kNames[] = {{"memcheck", CheckerFault::kPastTheEnd},
                           {"racecheck", CheckerFault::kNoBarrier},
                           {"initcheck", CheckerFault::kUninitialised},
                           {"synccheck", CheckerFault::kHalfABarrier}};

int Run(CheckerFault fault) {
  void* words = nullptr;
  cudaError_t error = cudaMalloc(&words, 32 * sizeof(unsigned));
  if (error == cudaSuccess)
    error = weft::cuda::LaunchCheckerFault(fault, static_cast<unsigned*>(words));
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  cudaFree(words);
  if (error == cudaSuccess) return 0;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  for (const Name& name : kNames) {
    if (argc == 2 && name.checker == argv[1]) return Run(name.fault);
  }
  std::fprintf(stderr, "usage: checker_faults memcheck|racecheck|initcheck|synccheck\n");
  return 2;
}
