// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan backend: any Vulkan 1.3 device with the features of docs vulkan.md, 6.1. GPUs come
// before software devices, so "vulkan" is the best device and "vulkan:llvmpipe" the processor.
#ifndef WEFT_VULKAN_VULKAN_BACKEND_H_
#define WEFT_VULKAN_VULKAN_BACKEND_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/registry.h"

namespace weft {
namespace vulkan {

struct Options {
  // Loads VK_LAYER_KHRONOS_validation, and counts what it says.
  bool enable_validation = false;
  // Holds every queue's barriers against an independent checker at Submit. Slow.
  bool verify_hazards = false;
};

// Warnings and errors of the validation layer in this process so far, and the first 20 of them.
int64_t ValidationMessageCount();
std::vector<std::string> ValidationMessages();

// Pipelines created in this process so far, on all devices.
int64_t TotalPipelineCount();

// Of a Vulkan backend; others are INVALID_ARGUMENT.
// Pipelines created so far: after a layer's Prepare the number stands still.
absl::StatusOr<int64_t> PipelineCount(const Backend& backend);
// What the driver compiled, as a blob for a later process with the same device and driver.
absl::StatusOr<std::vector<uint8_t>> SavePipelines(const Backend& backend);
// INVALID_ARGUMENT: not such a blob. FAILED_PRECONDITION: of another device or driver.
absl::Status LoadPipelines(Backend& backend, absl::Span<const uint8_t> blob);

}  // namespace vulkan

// Opens nothing yet. ALREADY_EXISTS if the kind is registered. //vulkan:auto calls it for
// Registry::Default().
absl::Status RegisterVulkanBackend(Registry& registry, const vulkan::Options& options = {});

}  // namespace weft

#endif  // WEFT_VULKAN_VULKAN_BACKEND_H_
