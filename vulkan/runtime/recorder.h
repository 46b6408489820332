// SPDX-License-Identifier: Apache-2.0
//
// Recorder: the part of a queue that the operations see.
#ifndef WEFT_VULKAN_RUNTIME_RECORDER_H_
#define WEFT_VULKAN_RUNTIME_RECORDER_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/hazard_tracker.h"
#include "vulkan/runtime/kernel.h"

namespace weft::vulkan {

inline constexpr int64_t kMaxParameterBytes = 4096;

class Recorder {
 public:
  virtual ~Recorder() = default;

  virtual Device& device() = 0;

  // Records one dispatch of `groups` workgroups. `params`, a struct equal to the GLSL one of at
  // most kMaxParameterBytes, is copied into device-visible memory, 16-byte aligned; the shader gets
  // its address. `accesses` is all device memory that the kernel may read or write, parameters
  // apart; the barrier that they need is put before the dispatch. INVALID_ARGUMENT: too many
  // parameters, or groups outside [1, max_group_count].
  virtual absl::Status Dispatch(const Kernel& kernel, absl::Span<const uint8_t> params,
                                std::array<uint32_t, 3> groups,
                                absl::Span<const Access> accesses) = 0;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_RECORDER_H_
