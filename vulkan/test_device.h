// SPDX-License-Identifier: Apache-2.0
//
// For tests that need a Vulkan device. //vulkan:test_main offers them the bundled one, and the
// bundled validation layer.
#ifndef WEFT_VULKAN_TEST_DEVICE_H_
#define WEFT_VULKAN_TEST_DEVICE_H_

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace weft::vulkan {

// Whether a test without a device is to fail: WEFT_REQUIRE_BACKENDS=reference,vulkan.
inline bool DeviceIsRequired() {
  const char* backends = std::getenv("WEFT_REQUIRE_BACKENDS");
  return backends != nullptr &&
         absl::c_linear_search(std::vector<std::string>(absl::StrSplit(backends, ',')), "vulkan");
}

}  // namespace weft::vulkan

// Skips the test, or fails it where a device is required, if `status` is not OK.
#define WEFT_SKIP_WITHOUT_DEVICE(status)                              \
  if (!(status).ok()) {                                               \
    if (::weft::vulkan::DeviceIsRequired()) GTEST_FAIL() << (status); \
    GTEST_SKIP() << (status);                                         \
  }                                                                   \
  static_assert(true, "")

#endif  // WEFT_VULKAN_TEST_DEVICE_H_
