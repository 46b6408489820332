// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/device.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "vulkan/runtime/device_hooks.h"
#include "vulkan/runtime/shared_shader.h"
#include "vulkan/runtime/spirv_info.h"
#include "vulkan/runtime/test_stream.h"

namespace weft::vulkan {
namespace {

using DeviceTest = StreamTest;

bool Mentions(const absl::Status& status, const std::string& text) {
  return status.message().find(text) != std::string::npos;
}

TEST(FeaturesTest, NamesTheFirstThatIsMissing) {
  FeatureChain features;
  EXPECT_STREQ(FirstMissingFeature(features), "shaderInt64");
  // A chain has nothing but VkBool32 between its links.
  ChooseFeatures(features, features);
  features.base.features.shaderInt64 = features.base.features.shaderInt16 = VK_TRUE;
  features.v11.storageBuffer16BitAccess = VK_TRUE;
  features.v12.storageBuffer8BitAccess = features.v12.shaderInt8 = VK_TRUE;
  features.v12.bufferDeviceAddress = features.v12.timelineSemaphore = VK_TRUE;
  features.v12.scalarBlockLayout = features.v12.vulkanMemoryModel = VK_TRUE;
  features.v13.subgroupSizeControl = features.v13.computeFullSubgroups = VK_TRUE;
  features.v13.maintenance4 = VK_TRUE;
  EXPECT_STREQ(FirstMissingFeature(features), "synchronization2");
  features.v13.synchronization2 = VK_TRUE;
  EXPECT_EQ(FirstMissingFeature(features), nullptr);

  features.v12.drawIndirectCount = VK_TRUE;
  features.v12.shaderFloat16 = VK_TRUE;
  FeatureChain enabled;
  ChooseFeatures(features, enabled);
  EXPECT_EQ(FirstMissingFeature(enabled), nullptr);
  EXPECT_TRUE(enabled.v12.shaderFloat16);
  EXPECT_FALSE(enabled.v12.drawIndirectCount);

  HideOptionalFeatures(features);
  EXPECT_FALSE(features.v12.shaderFloat16);
  EXPECT_EQ(FirstMissingFeature(features), nullptr);
}

TEST(SpirvInfoTest, LocalSizeFollowsSpecialization) {
  absl::StatusOr<SpirvInfo> info = ReadSpirv(kAffineShader, {48, 3});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->local_size, (std::array<uint32_t, 3>{48, 1, 1}));
}

TEST(SpirvInfoTest, SharedMemoryFollowsSpecialization) {
  EXPECT_EQ(ReadSpirv(kAffineShader, {})->shared_memory_bytes, 0);
  EXPECT_EQ(ReadSpirv(kSharedShader, {})->shared_memory_bytes, 20 * 4 * 8 + 4);
  EXPECT_EQ(ReadSpirv(kSharedShader, {64, 100, 3})->shared_memory_bytes, 20 * 100 * 3 + 4);
}

TEST(SpirvInfoTest, RefusesWhatIsNoModule) {
  EXPECT_TRUE(Mentions(ReadSpirv({1, 2, 3}, {}).status(), "not a SPIR-V module"));
  std::vector<uint32_t> words(std::begin(kAffineShader), std::end(kAffineShader));
  words[5] |= 0xffffu << 16;  // the first instruction reaches beyond the end
  EXPECT_TRUE(Mentions(ReadSpirv(words, {}).status(), "at word 5 has a length of 65535"));
  words.resize(5);
  EXPECT_TRUE(Mentions(ReadSpirv(words, {}).status(), "no compute entry point"));
}

TEST_F(DeviceTest, CanLookPoor) {
  absl::StatusOr<std::vector<PhysicalDevice>> devices = EnumeratePhysicalDevices(**TestInstance());
  ASSERT_TRUE(devices.ok()) << devices.status();
  PhysicalDevice poor = devices->front();
  HideOptional(poor);
  EXPECT_FALSE(poor.limits.shader_float16);
  EXPECT_FALSE(poor.limits.memory_budget || poor.limits.subgroup_size_selectable);
  EXPECT_EQ(poor.limits.timestamp_bits, 0u);
  EXPECT_EQ(poor.limits.max_shared_memory_bytes, 16384);
  DeviceHooks hooks;
  hooks.hide_optional = true;
  absl::StatusOr<std::unique_ptr<Device>> device = Device::Create(*TestInstance(), poor, &hooks);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_FALSE((*device)->limits().shader_float16);
}

TEST_F(DeviceTest, HasTheLimitsThatWeftNeeds) {
  absl::StatusOr<std::vector<PhysicalDevice>> devices = EnumeratePhysicalDevices(**TestInstance());
  ASSERT_TRUE(devices.ok()) << devices.status();
  bool software = false;
  for (const PhysicalDevice& device : *devices) {
    EXPECT_FALSE(software && !device.limits.is_software) << "a GPU behind a software device";
    software = device.limits.is_software;
    EXPECT_FALSE(device.name.empty());
    EXPECT_GE(device.limits.api_version, VK_API_VERSION_1_3);
    EXPECT_GE(device.limits.max_invocations, 128u);
    EXPECT_GE(device.limits.max_shared_memory_bytes, 16384);
    EXPECT_GE(device.limits.max_group_count[0], 65535u);
    EXPECT_GE(device.limits.max_allocation_bytes, int64_t{1} << 30);
    EXPECT_GE(device.limits.memory_bytes, int64_t{1} << 30);
    EXPECT_LE(device.limits.min_subgroup_size, device.limits.subgroup_size);
    EXPECT_GE(device.limits.max_subgroup_size, device.limits.subgroup_size);
  }
}

TEST_F(DeviceTest, AllocationsAreAlignedAndBounded) {
  for (int64_t bytes : {1, 255, 257, 100000}) {
    for (MemoryKind kind : {MemoryKind::kDevice, MemoryKind::kParameters, MemoryKind::kUpload,
                            MemoryKind::kReadback}) {
      absl::StatusOr<std::unique_ptr<DeviceMemory>> memory =
          DeviceMemory::Create(*device_, bytes, kind);
      ASSERT_TRUE(memory.ok()) << memory.status();
      EXPECT_EQ((*memory)->address() % 256, 0u);
      EXPECT_EQ((*memory)->bytes(), bytes);
      EXPECT_EQ((*memory)->data() == nullptr, kind == MemoryKind::kDevice);
    }
  }
  EXPECT_EQ(DeviceMemory::Create(*device_, 0, MemoryKind::kDevice).status().code(),
            absl::StatusCode::kInvalidArgument);
  const int64_t limit = device_->limits().max_allocation_bytes;
  absl::Status status = DeviceMemory::Create(*device_, limit + 1, MemoryKind::kDevice).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Mentions(status, std::to_string(limit)) &&
              Mentions(status, std::to_string(limit + 1)))
      << status;
}

TEST_F(DeviceTest, KernelsAreCompiledOnce) {
  KernelCache& kernels = device_->kernels();
  EXPECT_EQ(kernels.count(), 0);
  const Kernel* kernel = Affine();
  EXPECT_EQ(Affine(), kernel);
  EXPECT_EQ(kernels.count(), 1);
  // The default subgroup size, named.
  absl::StatusOr<const Kernel*> named =
      kernels.Get({&AffineModule(), {64, 2}, device_->limits().subgroup_size});
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(*named, kernel);
  EXPECT_NE(Affine(64, 3), kernel);
  EXPECT_EQ(kernels.count(), 2);
}

TEST_F(DeviceTest, KernelsBeyondTheLimitsAreRefused) {
  const DeviceLimits& limits = device_->limits();
  absl::Status size =
      device_->kernels().Get({&AffineModule(), {64, 2}, 2 * limits.max_subgroup_size}).status();
  EXPECT_EQ(size.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(Mentions(size, "subgroup size " + std::to_string(2 * limits.max_subgroup_size)))
      << size;
  absl::Status local =
      device_->kernels().Get({&AffineModule(), {limits.max_group_size[0] + 1, 2}, 0}).status();
  EXPECT_EQ(local.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(Mentions(local, "local size")) << local;
  static const auto* module = new ShaderModule{"shared", kSharedShader};
  const uint32_t rows = static_cast<uint32_t>(limits.max_shared_memory_bytes / 20 + 1);
  absl::Status shared = device_->kernels().Get({module, {64, rows, 1}, 0}).status();
  EXPECT_EQ(shared.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(Mentions(shared, "bytes of shared memory")) << shared;
  EXPECT_EQ(device_->kernels().count(), 0);
  EXPECT_TRUE(device_->kernels().Get({module, {64, rows - 2, 1}, 0}).ok());
}

TEST_F(DeviceTest, SubgroupSizeIsTheOneAsked) {
  if (const char* expected = std::getenv("WEFT_TEST_SUBGROUP_SIZE");
      expected != nullptr && device_->limits().is_software) {
    EXPECT_EQ(std::to_string(device_->limits().subgroup_size), expected);
  }
  std::unique_ptr<CommandStream> stream = Stream();
  AffineParams params;
  params.source = Words(64);
  params.destination = Words(64);
  params.sizes = Words(2);
  params.count = 64;
  std::vector<uint32_t> input(64), output(64), sizes(2);
  for (uint32_t i = 0; i < 64; ++i) input[i] = i;
  for (uint32_t local_size : {64u, 3u}) {
    ASSERT_TRUE(Upload(*stream, params.source, input).ok());
    ASSERT_TRUE(Dispatch(*stream, *Affine(local_size), local_size, params).ok());
    ASSERT_TRUE(Download(*stream, output, params.destination).ok());
    ASSERT_TRUE(Download(*stream, sizes, params.sizes).ok());
    ASSERT_TRUE(stream->Submit().ok());
    ASSERT_TRUE(stream->Wait(absl::Now() + absl::Seconds(30)).ok());
    EXPECT_EQ(sizes[0], device_->limits().subgroup_size);
    EXPECT_EQ(sizes[1], local_size);
    for (uint32_t i = 0; i < 64; ++i) ASSERT_EQ(output[i], 2 * i + 1);
  }
}

TEST_F(DeviceTest, PipelineCacheBlobIsCheckedBeforeUse) {
  Affine();
  absl::StatusOr<std::vector<uint8_t>> blob = device_->kernels().Save();
  ASSERT_TRUE(blob.ok()) << blob.status();
  absl::Status good = device_->kernels().Load(*blob);
  EXPECT_TRUE(good.ok()) << good;

  auto load_changed = [&](size_t at) {
    std::vector<uint8_t> changed = *blob;
    changed[at] ^= 1;
    return device_->kernels().Load(changed);
  };
  EXPECT_EQ(load_changed(4).code(), absl::StatusCode::kInvalidArgument);  // version
  for (size_t at : {8, 12, 16, 31}) {  // vendor, device, first and last byte of the UUID
    EXPECT_EQ(load_changed(at).code(), absl::StatusCode::kFailedPrecondition) << at;
  }
  EXPECT_TRUE(Mentions(load_changed(20), "version of the driver"));
  EXPECT_EQ(device_->kernels().Load({blob->data(), 31}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace weft::vulkan
