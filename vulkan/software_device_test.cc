// SPDX-License-Identifier: Apache-2.0
#include "vulkan/software_device.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace weft::vulkan {
namespace {

// Each test sets the environment that it needs; there are no threads here.
class SoftwareDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES",
                                 "VK_LAYER_PATH", "MESA_SHADER_CACHE_DIR", "XDG_CACHE_HOME"}) {
      unsetenv(variable);
    }
    setenv("HOME", "/nonexistent", 1);
  }
  static std::string Get(const char* variable) {
    const char* value = std::getenv(variable);
    return value == nullptr ? "(unset)" : value;
  }
};

TEST_F(SoftwareDeviceTest, FindsRunfilesAndSaysWhereItLooked) {
  absl::StatusOr<std::string> missing = FindRunfile("no/such/file");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("no/such/file"), std::string::npos);
  EXPECT_NE(missing.status().message().find("software_device_test.runfiles"), std::string::npos);

  const std::string root = ::testing::TempDir() + "/runfiles_root";
  ASSERT_EQ(std::system(("mkdir -p '" + root + "'").c_str()), 0);
  std::ofstream(root + "/here") << "x";
  setenv("RUNFILES_DIR", root.c_str(), 1);
  absl::StatusOr<std::string> found = FindRunfile("here");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, root + "/here");
  unsetenv("RUNFILES_DIR");
}

TEST_F(SoftwareDeviceTest, AddsTheDriverToThoseTheUserAdds) {
  setenv("VK_ADD_DRIVER_FILES", "/users/own.json", 1);
  if (absl::Status status = UseBundledSoftwareDevice(); absl::IsNotFound(status)) {
    GTEST_SKIP() << status;
  }
  const std::string files = Get("VK_ADD_DRIVER_FILES");
  EXPECT_EQ(files.find("/users/own.json:"), 0u) << files;
  const std::string driver = files.substr(files.find(':') + 1);
  EXPECT_EQ(access(driver.c_str(), R_OK), 0) << driver;
  EXPECT_EQ(Get("MESA_SHADER_CACHE_DIR").find("/tmp/"), 0u);
}

TEST_F(SoftwareDeviceTest, LeavesTheUsersChoiceAlone) {
  for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) {
    SetUp();
    setenv(variable, "/users/only.json", 1);
    setenv("MESA_SHADER_CACHE_DIR", "/users/cache", 1);
    if (absl::Status status = UseBundledSoftwareDevice(); absl::IsNotFound(status)) {
      GTEST_SKIP() << status;
    }
    EXPECT_EQ(Get(variable), "/users/only.json");
    EXPECT_EQ(Get("VK_ADD_DRIVER_FILES"), "(unset)");
    EXPECT_EQ(Get("MESA_SHADER_CACHE_DIR"), "/users/cache");
  }
}

TEST_F(SoftwareDeviceTest, FindsTheValidationLayer) {
  if (absl::Status status = UseBundledValidationLayer(); absl::IsNotFound(status)) {
    GTEST_SKIP() << status;
  }
  const std::string manifest = Get("VK_LAYER_PATH") + "/VkLayer_khronos_validation.json";
  EXPECT_EQ(access(manifest.c_str(), R_OK), 0) << manifest;
  setenv("VK_LAYER_PATH", "/users/layers", 1);
  EXPECT_TRUE(UseBundledValidationLayer().ok());
  EXPECT_EQ(Get("VK_LAYER_PATH"), "/users/layers");
}

}  // namespace
}  // namespace weft::vulkan
