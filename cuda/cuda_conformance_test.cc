// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend's share of the conformance suite: the first device there is.
#include "cuda/cuda_backend.h"
#include "testing/conformance/suite.h"

namespace weft::testing {
namespace {

[[maybe_unused]] const bool kRegistered = RegisterConformanceBackend("cuda", RegisterCudaBackend);

}  // namespace
}  // namespace weft::testing
