// SPDX-License-Identifier: Apache-2.0
//
// Prints the Vulkan devices that weft can use, or why there is none.
#include <iostream>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vulkan/runtime/instance.h"
#include "vulkan/runtime/physical_device.h"
#include "vulkan/software_device.h"

int main() {
  std::cout << "bundled device: " << weft::vulkan::UseBundledSoftwareDevice() << "\n";
  absl::StatusOr<std::shared_ptr<weft::vulkan::Instance>> instance =
      weft::vulkan::Instance::Create(/*enable_validation=*/false);
  if (!instance.ok()) {
    std::cout << instance.status() << "\n";
    return 1;
  }
  absl::StatusOr<std::vector<weft::vulkan::PhysicalDevice>> devices =
      weft::vulkan::EnumeratePhysicalDevices(**instance);
  if (!devices.ok()) {
    std::cout << devices.status() << "\n";
    return 1;
  }
  for (const weft::vulkan::PhysicalDevice& device : *devices) {
    std::cout << "device: " << device.name << ", " << device.driver << ", subgroup size "
              << device.limits.subgroup_size << "\n";
  }
  return 0;
}
