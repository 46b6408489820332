// SPDX-License-Identifier: Apache-2.0
//
// Linking this registers the Vulkan backend with Registry::Default().
#include "absl/log/check.h"
#include "core/registry.h"
#include "vulkan/vulkan_backend.h"

namespace weft {
namespace {

const bool registered = [] {
  CHECK_OK(RegisterVulkanBackend(Registry::Default()));
  return true;
}();

}  // namespace
}  // namespace weft
