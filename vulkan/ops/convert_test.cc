// SPDX-License-Identifier: Apache-2.0
//
// The shaders' conversions against core/dtype.h, bit for bit, on the device.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/dtype.h"
#include "gtest/gtest.h"
#include "vulkan/runtime/test_stream.h"
#include "vulkan/shaders/convert_test_shader.h"

namespace weft::vulkan {
namespace {

const ShaderModule& ConvertModule() {
  static const auto* module =
      new ShaderModule{"convert_test", absl::MakeConstSpan(shaders::kConvertTestShader)};
  return *module;
}

struct ConvertParams {
  uint64_t source = 0;
  uint64_t destination = 0;
  uint32_t count = 0;
};

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

class ConvertTest : public StreamTest {
 protected:
  std::vector<uint32_t> Run(const std::vector<uint32_t>& source, bool bf16, bool widen) {
    const auto count = static_cast<uint32_t>(source.size());
    absl::StatusOr<const Kernel*> kernel =
        device_->kernels().Get({&ConvertModule(), {bf16 ? 2u : 1u, widen ? 1u : 0u}, 0});
    EXPECT_TRUE(kernel.ok()) << kernel.status();
    const ConvertParams params = {Words(count), Words(count), count};
    std::unique_ptr<CommandStream> stream = Stream();
    EXPECT_TRUE(Upload(*stream, params.source, source).ok());
    const uint64_t bytes = uint64_t{4} * count;
    absl::Status status = stream->Operation(0, [&] {
      return stream->Dispatch(**kernel, {reinterpret_cast<const uint8_t*>(&params), sizeof(params)},
                              {(count + 63) / 64, 1, 1},
                              {Access{{params.source, params.source + bytes}, false},
                               Access{{params.destination, params.destination + bytes}, true}});
    });
    EXPECT_TRUE(status.ok()) << status;
    std::vector<uint32_t> result(count);
    EXPECT_TRUE(Download(*stream, result, params.destination).ok());
    EXPECT_TRUE(stream->Submit().ok());
    EXPECT_TRUE(stream->Wait(absl::Now() + absl::Seconds(60)).ok());
    return result;
  }
};

// Every half: also denormals, infinities and NaN.
TEST_F(ConvertTest, WidensExactly) {
  std::vector<uint32_t> codes(1 << 16);
  for (uint32_t i = 0; i < codes.size(); ++i) codes[i] = i;
  for (const bool bf16 : {false, true}) {
    const std::vector<uint32_t> floats = Run(codes, bf16, /*widen=*/true);
    ASSERT_EQ(floats.size(), codes.size());
    for (uint32_t code : codes) {
      const float want = bf16 ? BF16ToF32(code) : F16ToF32(code);
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(FloatOf(floats[code]))) << code;
      } else {
        EXPECT_EQ(floats[code], BitsOf(want)) << "code " << code << (bf16 ? " bf16" : " f16");
      }
    }
  }
}

// Every exponent and sign, with significands on, and next to, what is rounded.
TEST_F(ConvertTest, NarrowsToNearestEven) {
  std::vector<uint32_t> floats;
  for (uint32_t high = 0; high < 512; ++high) {
    for (uint32_t bit = 0; bit < 23; ++bit) {
      for (const uint32_t base :
           {0u, 1u << bit, (2u << bit) - 1, 3u << bit, 0x555555u, 0x2aaaaau}) {
        for (const uint32_t step : {0u, 1u, 0x7fffffu}) {
          floats.push_back(high << 23 | ((base + step) & 0x7fffffu));
        }
      }
    }
  }
  for (const bool bf16 : {false, true}) {
    const std::vector<uint32_t> codes = Run(floats, bf16, /*widen=*/false);
    ASSERT_EQ(codes.size(), floats.size());
    for (size_t i = 0; i < floats.size(); ++i) {
      const float value = FloatOf(floats[i]);
      const uint16_t want = bf16 ? F32ToBF16(value) : F32ToF16(value);
      ASSERT_EQ(codes[i], want) << "float bits " << floats[i] << " = " << value;
    }
  }
}

}  // namespace
}  // namespace weft::vulkan
