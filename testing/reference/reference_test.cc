// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite does not see of the reference backend.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>

#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/reference/reference_backend.h"
#include "testing/reference/rounding.h"

namespace weft {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Rounded(DType dtype, double value) {
  uint8_t bytes[4];
  StoreRounded(dtype, bytes, 0, value);
  return LoadFloat(dtype, bytes, 0);
}

TEST(StoreRoundedTest, RoundsOnce) {
  // Just above the middle of 1 and the next f16: over float it would become the tie, and then 1.
  EXPECT_EQ(Rounded(DType::kF16, 1.0 + 0x1p-11), 1.0);
  EXPECT_EQ(Rounded(DType::kF16, 1.0 + 0x1p-11 + 0x1p-40), 1.0 + 0x1p-10);
  EXPECT_EQ(Rounded(DType::kF16, 1.0 + 3 * 0x1p-11), 1.0 + 0x1p-9);
  EXPECT_EQ(Rounded(DType::kF16, 1.0 + 3 * 0x1p-11 - 0x1p-40), 1.0 + 0x1p-10);
  EXPECT_EQ(Rounded(DType::kF16, -1.0 - 0x1p-11 - 0x1p-40), -1.0 - 0x1p-10);
  EXPECT_EQ(Rounded(DType::kBF16, 1.0 + 0x1p-8 + 0x1p-40), 1.0 + 0x1p-7);
  EXPECT_EQ(Rounded(DType::kBF16, 1.0 + 0x1p-8), 1.0);
  EXPECT_EQ(Rounded(DType::kF32, 1.0 + 0x1p-24 + 0x1p-50), 1.0 + 0x1p-23);
}

TEST(StoreRoundedTest, Edges) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    EXPECT_TRUE(std::isnan(Rounded(dtype, std::nan(""))));
    EXPECT_EQ(Rounded(dtype, kInfinity), kInfinity);
    EXPECT_EQ(Rounded(dtype, -1e300), -kInfinity);
    EXPECT_EQ(Rounded(dtype, 1e-300), 0.0);
  }
  EXPECT_EQ(Rounded(DType::kF16, 65504.0), 65504.0);
  EXPECT_EQ(Rounded(DType::kF16, 65519.999999), 65504.0);
  EXPECT_EQ(Rounded(DType::kF16, 65520.0), kInfinity);
  // Denormals: the middle of 0 and the smallest, then just above it.
  EXPECT_EQ(Rounded(DType::kF16, 0x1p-25), 0.0);
  EXPECT_EQ(Rounded(DType::kF16, 0x1p-25 + 0x1p-60), 0x1p-24);
}

class ReferenceTest : public ::testing::Test {
 protected:
  ReferenceTest() { EXPECT_TRUE(RegisterReferenceBackend(registry_).ok()); }

  std::string Refusal(const AttentionSpec& spec) {
    const auto layout = KvCacheLayout::Nhd(spec.kv_dtype, 16, spec.num_kv_heads, spec.head_size);
    const absl::Status status = registry_.Create("reference").value()->Supports(spec, *layout);
    EXPECT_TRUE(status.ok() || absl::IsUnimplemented(status)) << status;
    return std::string(status.message());
  }

  static AttentionSpec Spec() {
    AttentionSpec spec;
    spec.num_heads = 4;
    spec.num_kv_heads = 2;
    spec.head_size = 64;
    return spec;
  }

  Registry registry_;
};

TEST_F(ReferenceTest, HasTwoDevices) {
  EXPECT_EQ(registry_.Create("reference").value()->info().name, "reference (float32)");
  EXPECT_EQ(registry_.Create("reference:1").value()->info().name, "reference (float64)");
  EXPECT_EQ(registry_.Create("reference:2").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(RegisterReferenceBackend(registry_).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(ReferenceTest, SupportsEveryFeature) {
  AttentionSpec spec = Spec();
  spec.softcap = 30.0f;
  spec.window = 8;
  spec.alibi_slopes.assign(4, 0.5f);
  spec.sinks.assign(4, 0.5f);
  spec.kv_dtype = DType::kF8E5M2;
  spec.k_scales = {0.5f};
  spec.v_scales = {0.5f, 2.0f};
  spec.fp8_query = true;
  spec.out_dtype = DType::kF8E4M3;
  spec.out_scale = 0.25f;
  EXPECT_EQ(Refusal(spec), "");
  spec.out_dtype = DType::kF32;
  spec.out_scale = 1.0f;
  EXPECT_EQ(Refusal(spec), "");
}

TEST_F(ReferenceTest, NamesWhatItDoesNotSupport) {
  EXPECT_EQ(Refusal(Spec()), "");
  AttentionSpec spec = Spec();
  spec.kv_dtype = DType::kBF16;
  EXPECT_EQ(Refusal(spec), "query dtype f16 with cache dtype bf16: not built yet on reference");
  spec = Spec();
  spec.head_size = 257;
  EXPECT_EQ(Refusal(spec), "head size 257 (at most 256): not built yet on reference");
  spec.head_size = 1;
  EXPECT_EQ(Refusal(spec), "");
}

TEST_F(ReferenceTest, ABufferOutlivesItsBackend) {
  std::shared_ptr<Backend> backend = registry_.Create("reference").value();
  std::unique_ptr<Buffer> buffer = backend->Allocate(100).value();
  EXPECT_EQ(backend->allocations().total_bytes(), 100);
  backend.reset();
  std::memset(reinterpret_cast<void*>(buffer->address()), 1, 100);
}

TEST_F(ReferenceTest, MemoryGoesWithItsBuffer) {
  const std::shared_ptr<Backend> backend = registry_.Create("reference").value();
  { const std::unique_ptr<Buffer> buffer = backend->Allocate(100).value(); }
  EXPECT_EQ(backend->allocations().total_bytes(), 0);
}

}  // namespace
}  // namespace weft
