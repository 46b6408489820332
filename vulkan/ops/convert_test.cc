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
#include "vulkan/ops/shader_dtype.h"
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
  float scale = 1.0f;
};

enum Way : uint32_t { kNarrow, kWiden, kQuantize };

constexpr DType kNarrowTypes[] = {DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2};

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

// Every exponent and sign, with significands on, and next to, what is rounded.
std::vector<uint32_t> InterestingFloats() {
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
  return floats;
}

uint32_t Code(DType dtype, float value) {
  uint16_t code = 0;
  StoreFloat(dtype, &code, 0, value);
  return code;
}

float Value(DType dtype, uint16_t code) { return LoadFloat(dtype, &code, 0); }

class ConvertTest : public StreamTest {
 protected:
  std::vector<uint32_t> Run(const std::vector<uint32_t>& source, DType dtype, Way way,
                            float scale = 1.0f) {
    const auto count = static_cast<uint32_t>(source.size());
    absl::StatusOr<const Kernel*> kernel =
        device_->kernels().Get({&ConvertModule(), {ShaderDType(dtype), way}, 0});
    EXPECT_TRUE(kernel.ok()) << kernel.status();
    const ConvertParams params = {Words(count), Words(count), count, scale};
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

// Every code: also denormals, infinities and NaN.
TEST_F(ConvertTest, WidensExactly) {
  for (const DType dtype : kNarrowTypes) {
    std::vector<uint32_t> codes(size_t{1} << (8 * SizeOf(dtype)));
    for (uint32_t i = 0; i < codes.size(); ++i) codes[i] = i;
    const std::vector<uint32_t> floats = Run(codes, dtype, kWiden);
    ASSERT_EQ(floats.size(), codes.size());
    for (uint32_t code : codes) {
      const float want = Value(dtype, static_cast<uint16_t>(code));
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(FloatOf(floats[code]))) << code << " " << Name(dtype);
      } else {
        EXPECT_EQ(floats[code], BitsOf(want)) << "code " << code << " " << Name(dtype);
      }
    }
  }
}

TEST_F(ConvertTest, NarrowsToNearestEven) {
  const std::vector<uint32_t> floats = InterestingFloats();
  for (const DType dtype : kNarrowTypes) {
    const std::vector<uint32_t> codes = Run(floats, dtype, kNarrow);
    ASSERT_EQ(codes.size(), floats.size());
    for (size_t i = 0; i < floats.size(); ++i) {
      const float value = FloatOf(floats[i]);
      ASSERT_EQ(codes[i], Code(dtype, value))
          << Name(dtype) << ", float bits " << floats[i] << " = " << value;
    }
  }
}

// Codes survive the way to float and back; between two neighbours, the middle and the floats beside
// it decide.
TEST_F(ConvertTest, NarrowsEveryCodeAndMiddle) {
  for (const DType dtype : {DType::kF8E4M3, DType::kF8E5M2}) {
    std::vector<uint32_t> floats;
    for (uint32_t code = 0; code < 256; ++code) {
      const float value = Value(dtype, static_cast<uint16_t>(code));
      floats.push_back(BitsOf(value));
      const float next = Value(dtype, static_cast<uint16_t>(code ^ 1));
      const uint32_t middle = BitsOf(0.5f * value + 0.5f * next);
      for (const uint32_t bits : {middle - 1, middle, middle + 1}) floats.push_back(bits);
    }
    const std::vector<uint32_t> codes = Run(floats, dtype, kNarrow);
    for (size_t i = 0; i < floats.size(); ++i) {
      ASSERT_EQ(codes[i], Code(dtype, FloatOf(floats[i]))) << Name(dtype) << " " << floats[i];
    }
  }
}

// Divided as IEEE 754 divides, then rounded: also where a quotient lies next to the middle of two
// codes, where GLSL's own division would fall to the wrong side.
TEST_F(ConvertTest, QuantizesToTheBit) {
  const std::vector<uint32_t> interesting = InterestingFloats();
  for (const float scale : {1.0f, 0.0078125f, 3.0f, 0.1f, 0.0023437f, 1.9999999f, 1.0000001f,
                            447.3f, 1e-30f, 3e30f, 1e-40f, 0x1p-140f, 0x1p120f}) {
    for (const DType dtype : {DType::kF8E4M3, DType::kF8E5M2}) {
      std::vector<uint32_t> floats;
      for (size_t i = dtype == DType::kF8E4M3 ? 0 : 3; i < interesting.size(); i += 7) {
        floats.push_back(interesting[i]);
      }
      for (uint32_t code = 0; code < 256; ++code) {
        const float value = Value(dtype, static_cast<uint16_t>(code));
        const float next = Value(dtype, static_cast<uint16_t>(code + 1 < 256 ? code + 1 : code));
        const uint32_t bits = BitsOf((0.5f * value + 0.5f * next) * scale);
        for (uint32_t step = 0; step < 7; ++step) floats.push_back(bits + step - 3);
      }
      const std::vector<uint32_t> codes = Run(floats, dtype, kQuantize, scale);
      ASSERT_EQ(codes.size(), floats.size());
      for (size_t i = 0; i < floats.size(); ++i) {
        const float value = FloatOf(floats[i]);
        ASSERT_EQ(codes[i], Code(dtype, value / scale))
            << Name(dtype) << ", " << value << " / " << scale << ", float bits " << floats[i];
      }
    }
  }
}

}  // namespace
}  // namespace weft::vulkan
