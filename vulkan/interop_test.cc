// SPDX-License-Identifier: Apache-2.0
#include "vulkan/interop.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/queue.h"
#include "gtest/gtest.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/instance.h"
#include "vulkan/runtime/loader.h"
#include "vulkan/runtime/memory.h"
#include "vulkan/runtime/physical_device.h"
#include "vulkan/test_device.h"

namespace weft::vulkan {
namespace {

// Stands for an engine with a Vulkan device of its own: weft's runtime makes it, nothing of it
// reaches the adopted backend but bare handles.
class InteropTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static auto* instance = new absl::StatusOr<std::shared_ptr<Instance>>(Instance::Create(false));
    WEFT_SKIP_WITHOUT_DEVICE(instance->status());
    instance_ = **instance;
    absl::StatusOr<std::vector<PhysicalDevice>> devices = EnumeratePhysicalDevices(*instance_);
    WEFT_SKIP_WITHOUT_DEVICE(devices.status());
    absl::StatusOr<std::unique_ptr<Device>> device = Device::Create(instance_, devices->front());
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
    adopted_.instance = instance_->handle();
    adopted_.physical_device = device_->physical();
    adopted_.device = device_->handle();
    adopted_.get_instance_proc_addr = reinterpret_cast<void*>((*OpenLoader())->GetInstanceProcAddr);
    adopted_.queue_family = device_->queue_family();
  }

  std::shared_ptr<Instance> instance_;
  std::unique_ptr<Device> device_;
  AdoptedDevice adopted_;
};

TEST_F(InteropTest, WorksOnACallersDeviceAndBuffer) {
  auto memory = DeviceMemory::Create(*device_, 4096, MemoryKind::kReadback);
  ASSERT_TRUE(memory.ok()) << memory.status();
  absl::StatusOr<std::shared_ptr<Backend>> backend = AdoptDevice(adopted_, 100);
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ(ToString((*backend)->device()), "vulkan:100");

  absl::StatusOr<std::unique_ptr<Buffer>> buffer =
      ImportBuffer(**backend, (*memory)->binding().buffer, 4096);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_EQ((*buffer)->address(), (*memory)->binding().address);
  EXPECT_FALSE(ImportBuffer(**backend, (*memory)->binding().buffer, 4096).ok());

  absl::StatusOr<std::unique_ptr<Queue>> queue = (*backend)->CreateQueue();
  ASSERT_TRUE(queue.ok()) << queue.status();
  std::vector<uint8_t> bytes(4096), out(4096);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 13);
  ASSERT_TRUE((*queue)->CopyFromHost((*buffer)->address(), bytes).ok());
  ASSERT_TRUE((*queue)->CopyToHost(absl::MakeSpan(out), (*buffer)->address()).ok());
  ASSERT_TRUE((*queue)->Submit().ok());
  ASSERT_TRUE((*queue)->Wait(absl::Now() + absl::Seconds(30)).ok());
  EXPECT_EQ(out, bytes);
  // The caller sees it in its own memory.
  EXPECT_EQ(std::vector<uint8_t>((*memory)->data(), (*memory)->data() + 4096), bytes);
  buffer->reset();
  EXPECT_EQ((*backend)->allocations().total_bytes(), 0);
}

TEST_F(InteropTest, RefusesWhatIsMissing) {
  AdoptedDevice adopted = adopted_;
  adopted.device = nullptr;
  EXPECT_EQ(AdoptDevice(adopted, 100).status().message(), "adopted device: device is null");
  adopted = adopted_;
  adopted.queue_family = 99;
  absl::Status status = AdoptDevice(adopted, 100).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(status.message().find("queue family 99"), std::string::npos) << status;
  absl::StatusOr<std::shared_ptr<Backend>> backend = AdoptDevice(adopted_, 100);
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ(ImportBuffer(**backend, nullptr, 16).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(RequiredFeaturesTest, NamesThem) {
  const std::vector<std::string> names = RequiredFeatures();
  EXPECT_EQ(names.size(), 13u);
  EXPECT_EQ(names.front(), "shaderInt64");
}

}  // namespace
}  // namespace weft::vulkan
