// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "vulkan/vulkan_core.h"

namespace {

std::string Runfile(const char* path) {
  const char* root = std::getenv("TEST_SRCDIR");
  return std::string(root == nullptr ? "" : root) + "/" + path;
}

TEST(SoftwareVulkanTest, DeviceWorksFromRunfiles) {
  if (!WEFT_SOFTWARE_VULKAN_PRESENT) GTEST_SKIP() << "no software Vulkan device was set up";
  setenv("VK_DRIVER_FILES", Runfile(WEFT_SOFTWARE_ICD_RLOCATION).c_str(), 1);
  setenv("VK_ICD_FILENAMES", Runfile(WEFT_SOFTWARE_ICD_RLOCATION).c_str(), 1);
  void* loader = dlopen(Runfile(WEFT_SOFTWARE_LOADER_RLOCATION).c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(loader, nullptr) << dlerror();
  auto get = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(loader, "vkGetInstanceProcAddr"));
  ASSERT_NE(get, nullptr);

  VkApplicationInfo app = {};
  app.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  app.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &app;
  // The validation layer is found beside the driver.
  std::string manifest = Runfile(WEFT_VALIDATION_LAYER_RLOCATION);
  setenv("VK_LAYER_PATH", manifest.substr(0, manifest.rfind('/')).c_str(), 1);
  const char* layer = "VK_LAYER_KHRONOS_validation";
  info.enabledLayerCount = 1;
  info.ppEnabledLayerNames = &layer;
  VkInstance instance = VK_NULL_HANDLE;
  auto create = reinterpret_cast<PFN_vkCreateInstance>(get(nullptr, "vkCreateInstance"));
  ASSERT_EQ(create(&info, nullptr, &instance), VK_SUCCESS);

  auto enumerate =
      reinterpret_cast<PFN_vkEnumeratePhysicalDevices>(get(instance, "vkEnumeratePhysicalDevices"));
  uint32_t count = 1;
  VkPhysicalDevice device = VK_NULL_HANDLE;
  ASSERT_GE(enumerate(instance, &count, &device), VK_SUCCESS);
  ASSERT_EQ(count, 1u);
  auto properties = reinterpret_cast<PFN_vkGetPhysicalDeviceProperties>(
      get(instance, "vkGetPhysicalDeviceProperties"));
  VkPhysicalDeviceProperties found = {};
  properties(device, &found);
  RecordProperty("device", found.deviceName);
  EXPECT_NE(std::string(found.deviceName).find("llvmpipe"), std::string::npos);
  EXPECT_GE(found.apiVersion, VK_API_VERSION_1_3);
  reinterpret_cast<PFN_vkDestroyInstance>(get(instance, "vkDestroyInstance"))(instance, nullptr);
}

}  // namespace
