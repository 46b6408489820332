// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan loader, opened at the first use.
#ifndef WEFT_VULKAN_RUNTIME_LOADER_H_
#define WEFT_VULKAN_RUNTIME_LOADER_H_

#include <string>

#include "absl/status/statusor.h"
#include "vulkan/runtime/vulkan_api.h"

namespace weft::vulkan {

// The library to open where the system has no loader of its own. Before the first OpenLoader.
void SetFallbackLoader(std::string path);

// Opens libvulkan.so.1 of the system, else the fallback. Thread-safe; the library stays open.
// UNAVAILABLE says what dlopen said.
absl::StatusOr<const GlobalApi*> OpenLoader();

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_LOADER_H_
