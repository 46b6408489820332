// SPDX-License-Identifier: Apache-2.0
//
// DeviceId: which device an address belongs to. Every view carries one, so that a CUDA address
// handed to Vulkan is an INVALID_ARGUMENT and not a fault.
#ifndef WEFT_CORE_DEVICE_H_
#define WEFT_CORE_DEVICE_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace weft {

enum class BackendKind : uint8_t { kReference, kCuda, kVulkan };

// "reference", "cuda", "vulkan".
std::string_view Name(BackendKind kind);

struct DeviceId {
  BackendKind kind = BackendKind::kReference;
  int32_t ordinal = 0;
};

inline bool operator==(DeviceId a, DeviceId b) {
  return a.kind == b.kind && a.ordinal == b.ordinal;
}
inline bool operator!=(DeviceId a, DeviceId b) { return !(a == b); }

// "vulkan:0"; what Registry::Create takes.
std::string ToString(DeviceId device);

}  // namespace weft

#endif  // WEFT_CORE_DEVICE_H_
