// SPDX-License-Identifier: Apache-2.0
#include "vulkan/vulkan_backend.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/backend.h"
#include "core/registry.h"
#include "gtest/gtest.h"
#include "vulkan/test_device.h"

namespace weft::vulkan {
namespace {

// One registry, and so one instance, for all tests.
Registry& TestRegistry() {
  static auto* registry = [] {
    auto* made = new Registry();
    Options options;
    options.verify_hazards = true;
    EXPECT_TRUE(RegisterVulkanBackend(*made, options).ok());
    return made;
  }();
  return *registry;
}

class VulkanBackendTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Backend>> backend = TestRegistry().Create("vulkan");
    WEFT_SKIP_WITHOUT_DEVICE(backend.status());
    backend_ = *std::move(backend);
  }

  std::shared_ptr<Backend> backend_;
};

// Two backend objects of one device share neither pipelines nor addresses, though their ids agree.
TEST_F(VulkanBackendTest, RefusesWhatAnotherBackendObjectPrepared) {
  const auto other = TestRegistry().Create("vulkan");
  ASSERT_TRUE(other.ok());
  AttentionSpec spec;
  spec.num_heads = 1;
  spec.num_kv_heads = 1;
  spec.head_size = 32;
  const auto prepared = (*other)->Prepare(spec, *KvCacheLayout::Nhd(DType::kF16, 16, 1, 32));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const auto queue = backend_->CreateQueue();
  ASSERT_TRUE(queue.ok());
  AttentionArgs args;
  args.prepared = prepared->get();
  const absl::Status status = (*queue)->Attention(args);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

TEST_F(VulkanBackendTest, ListsItsDevices) {
  EXPECT_EQ(RegisterVulkanBackend(TestRegistry()).code(), absl::StatusCode::kAlreadyExists);
  for (const BackendListing& listing : TestRegistry().List()) {
    if (listing.kind != BackendKind::kVulkan) continue;
    ASSERT_TRUE(listing.status.ok()) << listing.status;
    ASSERT_FALSE(listing.devices.empty());
    for (const DeviceInfo& info : listing.devices) {
      EXPECT_FALSE(info.name.empty());
      EXPECT_FALSE(info.driver.empty());
      EXPECT_GT(info.memory_bytes, 0);
      EXPECT_GT(info.max_allocation_bytes, 0);
      EXPECT_EQ(info.limits.front().first, "api");
    }
  }
  absl::Status none = TestRegistry().Create("vulkan:no such card").status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound) << none;
}

TEST_F(VulkanBackendTest, BuffersOutliveTheirBackendsHandle) {
  absl::StatusOr<std::unique_ptr<Buffer>> buffer = backend_->Allocate(1000);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_EQ((*buffer)->address() % 256, 0u);
  EXPECT_EQ(backend_->allocations().total_bytes(), 1000);
  EXPECT_EQ(backend_->Allocate(0).status().code(), absl::StatusCode::kInvalidArgument);
  absl::Status large = backend_->Allocate(backend_->info().max_allocation_bytes + 1).status();
  EXPECT_EQ(large.code(), absl::StatusCode::kResourceExhausted) << large;
  absl::StatusOr<std::unique_ptr<Queue>> queue = backend_->CreateQueue();
  ASSERT_TRUE(queue.ok()) << queue.status();
  backend_.reset();
  ASSERT_TRUE((*queue)->Fill((*buffer)->address(), 1000, 7).ok());
  ASSERT_TRUE((*queue)->Submit().ok());
  ASSERT_TRUE((*queue)->Wait(absl::Now() + absl::Seconds(30)).ok());
  queue->reset();
  buffer->reset();
}

TEST_F(VulkanBackendTest, QueueMovesBytesAndMeasures) {
  std::unique_ptr<Buffer> a = *backend_->Allocate(1024), b = *backend_->Allocate(1024);
  std::unique_ptr<Queue> queue = *backend_->CreateQueue();
  queue->SetProfiling(true);
  std::vector<uint8_t> in(1001), out(1001);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i * 7);
  ASSERT_TRUE(queue->Fill(a->address(), 1024, 0).ok());
  ASSERT_TRUE(queue->CopyFromHost(a->address() + 3, in).ok());
  ASSERT_TRUE(queue->Copy(b->address() + 5, a->address() + 3, 1001).ok());
  ASSERT_TRUE(queue->CopyToHost(absl::MakeSpan(out), b->address() + 5).ok());
  EXPECT_EQ(queue->Fill(a->address() + 1024, 4, 0).code(), absl::StatusCode::kOutOfRange);
  ASSERT_TRUE(queue->Submit().ok());
  ASSERT_TRUE(queue->Wait(absl::Now() + absl::Seconds(30)).ok());
  EXPECT_EQ(in, out);
  std::vector<OpTime> times = queue->TakeOpTimes();
  ASSERT_EQ(times.size(), static_cast<size_t>(kNumOpKinds));
  EXPECT_EQ(times[static_cast<int>(OpKind::kCopy)].calls, 3);
  EXPECT_EQ(times[static_cast<int>(OpKind::kFill)].calls, 1);
}

TEST_F(VulkanBackendTest, PipelinesAreSavedAndLoaded) {
  absl::StatusOr<std::vector<uint8_t>> blob = SavePipelines(*backend_);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_TRUE(LoadPipelines(*backend_, *blob).ok());
  (*blob)[20] ^= 1;
  EXPECT_EQ(LoadPipelines(*backend_, *blob).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(PipelineCount(*backend_).ok());
}

// In processes of their own, since a loader and an instance are opened once.
TEST(VulkanAbsenceDeathTest, SaysWhyThereIsNoDevice) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto create_and_exit = [] {
    setenv("VK_DRIVER_FILES", "/nonexistent.json", 1);
    setenv("VK_ICD_FILENAMES", "/nonexistent.json", 1);
    absl::Status status = TestRegistry().Create("vulkan").status();
    fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(status.code() == absl::StatusCode::kUnavailable ? 0 : 1);
  };
  EXPECT_EXIT(create_and_exit(), ::testing::ExitedWithCode(0), "UNAVAILABLE.*Vulkan");
}

}  // namespace
}  // namespace weft::vulkan
