// SPDX-License-Identifier: Apache-2.0
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "core/device.h"
#include "core/registry.h"
#include "cuda/cuda_backend.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

const BackendListing* FindCuda(const std::vector<BackendListing>& listings) {
  for (const BackendListing& listing : listings) {
    if (listing.kind == BackendKind::kCuda) return &listing;
  }
  return nullptr;
}

TEST(Registration, AutoHasRegisteredTheBackend) {
  EXPECT_EQ(RegisterCudaBackend(Registry::Default()).code(), absl::StatusCode::kAlreadyExists);
}

// Whatever this machine has, there are devices or a reason in words.
TEST(Registration, ListsDevicesOrTheReasonWhyThereAreNone) {
  Registry registry;
  ASSERT_TRUE(RegisterCudaBackend(registry).ok());
  const std::vector<BackendListing> listings = registry.List();
  const BackendListing* cuda = FindCuda(listings);
  ASSERT_NE(cuda, nullptr);
  if (cuda->status.ok()) {
    ASSERT_FALSE(cuda->devices.empty());
    EXPECT_EQ(cuda->devices[0].id.kind, BackendKind::kCuda);
    EXPECT_FALSE(cuda->devices[0].name.empty());
    EXPECT_GT(cuda->devices[0].memory_bytes, 0);
    return;
  }
  EXPECT_EQ(cuda->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(cuda->devices.empty());
  const std::string_view reason = cuda->status.message();
  EXPECT_TRUE(absl::StrContains(reason, "no CUDA driver: ") ||
              absl::StrContains(reason, "CUDA driver too old: ") ||
              absl::StrContains(reason, "no CUDA device") ||
              absl::StrContains(reason, "built without CUDA (--config=nocuda or no toolkit)"))
      << cuda->status;
  const absl::Status created = registry.Create("cuda:0").status();
  EXPECT_EQ(created.code(), absl::StatusCode::kUnavailable) << created;
  EXPECT_TRUE(absl::StrContains(created.message(), reason)) << created;
}

}  // namespace
}  // namespace weft
