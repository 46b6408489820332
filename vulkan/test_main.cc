// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "vulkan/software_device.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  for (const absl::Status& status :
       {weft::vulkan::UseBundledSoftwareDevice(), weft::vulkan::UseBundledValidationLayer()}) {
    if (!status.ok()) std::cerr << status << "\n";
  }
  return RUN_ALL_TESTS();
}
