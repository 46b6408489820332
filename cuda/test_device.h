// SPDX-License-Identifier: Apache-2.0
//
// The CUDA device that a test runs on.
#ifndef WEFT_CUDA_TEST_DEVICE_H_
#define WEFT_CUDA_TEST_DEVICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "core/backend.h"

namespace weft::cuda {

// "cuda:0" of Registry::Default(). UNAVAILABLE: the test may skip itself, with that reason.
// FAILED_PRECONDITION: there is none, and the environment variable WEFT_REQUIRE_BACKENDS names
// cuda.
absl::StatusOr<std::shared_ptr<Backend>> TestDevice();

}  // namespace weft::cuda

#endif  // WEFT_CUDA_TEST_DEVICE_H_
