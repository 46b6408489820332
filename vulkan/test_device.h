// SPDX-License-Identifier: Apache-2.0
//
// For tests that need a Vulkan device. //vulkan:test_main offers them the bundled one, and the
// bundled validation layer.
#ifndef WEFT_VULKAN_TEST_DEVICE_H_
#define WEFT_VULKAN_TEST_DEVICE_H_

#include "gtest/gtest.h"
#include "testing/required_backends.h"

namespace weft::vulkan {

// Whether a test without a device is to fail: WEFT_REQUIRE_BACKENDS=reference,vulkan.
inline bool DeviceIsRequired() { return testing::BackendIsRequired("vulkan"); }

}  // namespace weft::vulkan

// Skips the test, or fails it where a device is required, if `status` is not OK.
#define WEFT_SKIP_WITHOUT_DEVICE(status)                              \
  if (!(status).ok()) {                                               \
    if (::weft::vulkan::DeviceIsRequired()) GTEST_FAIL() << (status); \
    GTEST_SKIP() << (status);                                         \
  }                                                                   \
  static_assert(true, "")

#endif  // WEFT_VULKAN_TEST_DEVICE_H_
