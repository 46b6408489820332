// SPDX-License-Identifier: Apache-2.0
//
// Synchronisation validation does not see memory that a kernel reaches by address (vulkan.md, 4.3).
// So here kernels are replaced by those with SHADOW_BINDINGS, and the memory that a dispatch says
// it accesses is pushed as descriptors: the layer then sees what the runtime's own HazardTracker
// sees.
#ifndef WEFT_VULKAN_LAYERS_SHADOW_BINDINGS_H_
#define WEFT_VULKAN_LAYERS_SHADOW_BINDINGS_H_

#include <cstdint>
#include <set>
#include <string>

#include "vulkan/runtime/device_hooks.h"

namespace weft::vulkan {

// The bindings of vulkan/shaders/shadow_bindings.glsl: first those that are read, then those that
// are written.
inline constexpr uint32_t kShadowReads = 20;
inline constexpr uint32_t kShadowWrites = 12;

// Hooks that do this. A dispatch that accesses more disjoint ranges than there are bindings is
// RESOURCE_EXHAUSTED, memory that no VkBuffer holds OUT_OF_RANGE, a kernel without a shadow
// NOT_FOUND, one that writes nothing FAILED_PRECONDITION. Of a range longer than a descriptor may
// be only the front is bound.
DeviceHooks ShadowHooks();

// The kernels that were dispatched in this process, with their shadows.
std::set<std::string> ShadowedKernels();

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_LAYERS_SHADOW_BINDINGS_H_
