// SPDX-License-Identifier: Apache-2.0
//
// The software Vulkan device that a build may carry among its runfiles (tools/setup), so that
// everything runs on a machine without a GPU. A library does not change its process's environment
// by itself: a program's main() calls these, before it starts threads and before the first use of
// Vulkan.
#ifndef WEFT_VULKAN_SOFTWARE_DEVICE_H_
#define WEFT_VULKAN_SOFTWARE_DEVICE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weft::vulkan {

// Adds the bundled driver to those of the system (VK_ADD_DRIVER_FILES), unless the user has chosen
// the drivers (VK_DRIVER_FILES, VK_ICD_FILENAMES); its loader is opened where the system has none.
// Gives Mesa a folder for compiled shaders where it would find none. NOT_FOUND: this build carries
// no device, or its runfiles are not to be found.
absl::Status UseBundledSoftwareDevice();

// Lets the loader find the bundled validation layer, unless the user has set VK_LAYER_PATH. The
// errors of UseBundledSoftwareDevice.
absl::Status UseBundledValidationLayer();

// The file of `rlocation` under $RUNFILES_DIR, $TEST_SRCDIR, <executable>.runfiles, or the runfiles
// folder that the executable lies in. NOT_FOUND names where it was looked for. Bazel's own library
// for this needs argv[0]; a program found through PATH or a symlink has a useless one.
absl::StatusOr<std::string> FindRunfile(const std::string& rlocation);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_SOFTWARE_DEVICE_H_
