// SPDX-License-Identifier: Apache-2.0
#include "core/device.h"
#include "cuda/bench/graph_tools.h"
#include "tools/bench/device_tools.h"

namespace weft {
namespace {

[[maybe_unused]] const bool registered =
    bench::RegisterDeviceTools(BackendKind::kCuda, cuda::MakeGraphTools);

}  // namespace
}  // namespace weft
