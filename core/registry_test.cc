// SPDX-License-Identifier: Apache-2.0
#include "core/registry.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

// Says which ordinal it was asked for, and makes nothing.
class FakeFactory : public BackendFactory {
 public:
  explicit FakeFactory(absl::StatusOr<std::vector<DeviceInfo>> devices)
      : devices_(std::move(devices)) {}
  BackendKind kind() const override { return BackendKind::kVulkan; }
  absl::StatusOr<std::vector<DeviceInfo>> Enumerate() override { return devices_; }
  absl::StatusOr<std::shared_ptr<Backend>> Create(int32_t ordinal) override {
    return absl::InternalError(absl::StrCat("asked for ", ordinal));
  }

 private:
  absl::StatusOr<std::vector<DeviceInfo>> devices_;
};

std::vector<DeviceInfo> TwoDevices() {
  std::vector<DeviceInfo> devices(2);
  devices[0].id = {BackendKind::kVulkan, 0};
  devices[0].name = "NVIDIA H200";
  devices[1].id = {BackendKind::kVulkan, 1};
  devices[1].name = "llvmpipe (LLVM 15)";
  return devices;
}

TEST(RegistryTest, ChoosesByKindOrdinalOrName) {
  Registry registry;
  ASSERT_TRUE(registry.Register(std::make_unique<FakeFactory>(TwoDevices())).ok());
  EXPECT_THAT(registry.Create("vulkan").status().message(), HasSubstr("asked for 0"));
  EXPECT_THAT(registry.Create("vulkan:1").status().message(), HasSubstr("asked for 1"));
  EXPECT_THAT(registry.Create("vulkan:LLVMpipe").status().message(), HasSubstr("asked for 1"));
  const absl::Status none = registry.Create("vulkan:radeon").status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(none.message(), HasSubstr("vulkan:0 (NVIDIA H200), vulkan:1 (llvmpipe (LLVM 15))"));
  EXPECT_EQ(registry.Create("vulkan:2").status().code(), absl::StatusCode::kNotFound);
}

TEST(RegistryTest, UnknownAndAbsentAreDifferentErrors) {
  Registry registry;
  EXPECT_EQ(registry.Create("opencl").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(registry.Create("").status().code(), absl::StatusCode::kInvalidArgument);
  const absl::Status unlinked = registry.Create("cuda").status();
  EXPECT_EQ(unlinked.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(unlinked.message(), HasSubstr("cuda: not linked into this program"));
  ASSERT_TRUE(
      registry.Register(std::make_unique<FakeFactory>(absl::UnavailableError("no loader"))).ok());
  EXPECT_THAT(registry.Create("vulkan:0").status().message(), HasSubstr("no loader"));
}

TEST(RegistryTest, ListsEveryKindWithItsReason) {
  Registry registry;
  ASSERT_TRUE(registry.Register(std::make_unique<FakeFactory>(TwoDevices())).ok());
  EXPECT_EQ(registry.Register(std::make_unique<FakeFactory>(TwoDevices())).code(),
            absl::StatusCode::kAlreadyExists);
  const std::vector<BackendListing> listings = registry.List();
  ASSERT_EQ(listings.size(), 3);
  EXPECT_EQ(listings[0].kind, BackendKind::kCuda);
  EXPECT_FALSE(listings[0].status.ok());
  EXPECT_EQ(listings[1].devices.size(), 2);
  EXPECT_TRUE(listings[1].status.ok());
}

}  // namespace
}  // namespace weft
