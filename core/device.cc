// SPDX-License-Identifier: Apache-2.0
#include "core/device.h"

#include "absl/strings/str_cat.h"

namespace weft {

std::string_view Name(BackendKind kind) {
  switch (kind) {
    case BackendKind::kReference:
      return "reference";
    case BackendKind::kCuda:
      return "cuda";
    case BackendKind::kVulkan:
      return "vulkan";
  }
  return "?";
}

std::string ToString(DeviceId device) {
  return absl::StrCat(Name(device.kind), ":", device.ordinal);
}

}  // namespace weft
