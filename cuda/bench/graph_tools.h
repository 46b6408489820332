// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend's tools for `weft bench`: calls as a CUDA graph between two events, the paged
// read, cuBLAS.
#ifndef WEFT_CUDA_BENCH_GRAPH_TOOLS_H_
#define WEFT_CUDA_BENCH_GRAPH_TOOLS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "core/backend.h"
#include "tools/bench/device_tools.h"

namespace weft::cuda {

// INVALID_ARGUMENT: not a CUDA backend. The errors of making a stream.
absl::StatusOr<std::unique_ptr<bench::DeviceTools>> MakeGraphTools(
    std::shared_ptr<Backend> backend);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_BENCH_GRAPH_TOOLS_H_
