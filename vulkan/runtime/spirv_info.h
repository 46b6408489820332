// SPDX-License-Identifier: Apache-2.0
//
// What the runtime must know of a compute module before it makes a pipeline of it. A driver need
// not notice that a module exceeds its limits: one took more shared memory than it has, and lost
// the device at the first dispatch.
#ifndef WEFT_VULKAN_RUNTIME_SPIRV_INFO_H_
#define WEFT_VULKAN_RUNTIME_SPIRV_INFO_H_

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace weft::vulkan {

struct SpirvInfo {
  std::array<uint32_t, 3> local_size = {1, 1, 1};
  // Of all Workgroup variables, without padding between them: the least that the module takes.
  int64_t shared_memory_bytes = 0;
};

// `specialization[i]` is the value of constant_id i; a constant beyond it keeps its default.
// INVALID_ARGUMENT: not SPIR-V, cut short, or no compute entry point.
absl::StatusOr<SpirvInfo> ReadSpirv(absl::Span<const uint32_t> words,
                                    absl::Span<const uint32_t> specialization);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_SPIRV_INFO_H_
