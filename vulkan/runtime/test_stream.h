// SPDX-License-Identifier: Apache-2.0
//
// What the runtime's tests share: a device, memory on it, streams, and a kernel.
#ifndef WEFT_VULKAN_RUNTIME_TEST_STREAM_H_
#define WEFT_VULKAN_RUNTIME_TEST_STREAM_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/address_map.h"
#include "core/status_macros.h"
#include "gtest/gtest.h"
#include "vulkan/runtime/affine_shader.h"
#include "vulkan/runtime/command_stream.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/instance.h"
#include "vulkan/runtime/memory.h"
#include "vulkan/runtime/physical_device.h"
#include "vulkan/test_device.h"

namespace weft::vulkan {

// One for the process: unloading a driver is not what is tested. The first call decides.
inline absl::StatusOr<std::shared_ptr<Instance>> TestInstance(bool enable_validation = false) {
  static auto* instance =
      new absl::StatusOr<std::shared_ptr<Instance>>(Instance::Create(enable_validation));
  return *instance;
}

// The parameters of affine.comp.
struct AffineParams {
  uint64_t source = 0;
  uint64_t destination = 0;
  uint64_t sizes = 0;
  uint32_t count = 0;
  uint32_t rounds = 1;
};
static_assert(sizeof(AffineParams) == 32, "scalar layout");

inline const ShaderModule& AffineModule() {
  static const auto* module = new ShaderModule{"affine", kAffineShader};
  return *module;
}

class StreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Instance>> instance = TestInstance(validate());
    WEFT_SKIP_WITHOUT_DEVICE(instance.status());
    absl::StatusOr<std::vector<PhysicalDevice>> devices = EnumeratePhysicalDevices(**instance);
    WEFT_SKIP_WITHOUT_DEVICE(devices.status());
    absl::StatusOr<std::unique_ptr<Device>> device = Device::Create(*instance, devices->front());
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
  }

  virtual bool validate() const { return false; }

  void TearDown() override {
    for (const auto& memory : memory_) EXPECT_TRUE(map_.Remove(memory->address()).ok());
  }

  // Device memory of `count` words; its address.
  uint64_t Words(int64_t count) {
    absl::StatusOr<std::unique_ptr<DeviceMemory>> memory =
        DeviceMemory::Create(*device_, 4 * count, MemoryKind::kDevice);
    EXPECT_TRUE(memory.ok()) << memory.status();
    const uint64_t address = (*memory)->address();
    EXPECT_TRUE(map_.Add({address, 4 * count, BindingOf(**memory)}).ok());
    memory_.push_back(*std::move(memory));
    return address;
  }

  std::unique_ptr<CommandStream> Stream(const StreamOptions& options = {}) {
    absl::StatusOr<std::unique_ptr<CommandStream>> stream =
        CommandStream::Create(*device_, map_, options);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return *std::move(stream);
  }

  const Kernel* Affine(uint32_t local_size = 64, uint32_t factor = 2) {
    absl::StatusOr<const Kernel*> kernel =
        device_->kernels().Get({&AffineModule(), {local_size, factor}, 0});
    EXPECT_TRUE(kernel.ok()) << kernel.status();
    return *kernel;
  }

  // The functions below record one operation.
  static absl::Status Upload(CommandStream& stream, uint64_t to,
                             const std::vector<uint32_t>& words) {
    return stream.Operation(0, [&] {
      return stream.CopyFromHost(
          to, {reinterpret_cast<const uint8_t*>(words.data()), 4 * words.size()});
    });
  }
  static absl::Status Download(CommandStream& stream, std::vector<uint32_t>& words, uint64_t from) {
    return stream.Operation(0, [&] {
      return stream.CopyToHost({reinterpret_cast<uint8_t*>(words.data()), 4 * words.size()}, from);
    });
  }
  static absl::Status Fill(CommandStream& stream, uint64_t to, int64_t count, uint32_t value) {
    return stream.Operation(1, [&] { return stream.Fill(to, 4 * count, value); });
  }
  static absl::Status Dispatch(CommandStream& stream, const Kernel& kernel, uint32_t local_size,
                               const AffineParams& params) {
    const uint64_t bytes = uint64_t{4} * params.count;
    return stream.Operation(2, [&] {
      return stream.Dispatch(kernel, {reinterpret_cast<const uint8_t*>(&params), sizeof(params)},
                             {(params.count + local_size - 1) / local_size, 1, 1},
                             {Access{{params.source, params.source + bytes}, false},
                              Access{{params.destination, params.destination + bytes}, true},
                              Access{{params.sizes, params.sizes + 8}, true}});
    });
  }

  std::unique_ptr<Device> device_;
  AddressMap map_;
  std::vector<std::unique_ptr<DeviceMemory>> memory_;

 private:
  static void* BindingOf(const DeviceMemory& memory) {
    return const_cast<BufferBinding*>(&memory.binding());
  }
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_TEST_STREAM_H_
