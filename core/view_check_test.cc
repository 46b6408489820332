// SPDX-License-Identifier: Apache-2.0
#include "core/view_check.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/head_values.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr DeviceId kDevice = {BackendKind::kReference, 0};
constexpr uint64_t kBase = 0x10000;

class ViewCheckTest : public testing::Test {
 protected:
  ViewCheckTest() { EXPECT_TRUE(map_.Add({kBase, 4096, nullptr}).ok()); }

  static TensorView View(DType dtype, std::vector<int64_t> extents, uint64_t offset = 0) {
    return *TensorView::Contiguous(kBase + offset, dtype, extents, kDevice);
  }

  AddressMap map_;
  ViewCheck check_ = {map_, kDevice};
};

TEST_F(ViewCheckTest, Memory) {
  EXPECT_TRUE(check_.Memory("x", View(DType::kF32, {1024})).ok());
  EXPECT_EQ(check_.Memory("x", View(DType::kF32, {1025})).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(check_.Memory("x", View(DType::kF32, {1024}, 4)).code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(check_.Memory("attention: query", {}).message(), HasSubstr("query is not given"));
  const TensorView elsewhere =
      *TensorView::Contiguous(kBase, DType::kF32, {4}, {BackendKind::kVulkan, 0});
  EXPECT_THAT(check_.Memory("x", elsewhere).message(),
              HasSubstr("x lies on vulkan:0, the queue's device is reference:0"));
}

TEST_F(ViewCheckTest, Rows) {
  const TensorView good = View(DType::kF16, {5, 4, 32});
  EXPECT_TRUE(check_.Rows("x", good, DType::kF16, 5, 4, 32).ok());
  EXPECT_TRUE(check_.Rows("x", good, DType::kF16, 3, 4, 32).ok());
  EXPECT_THAT(check_.Rows("x", good, DType::kF16, 6, 4, 32).message(),
              HasSubstr("x is f16[5, 4, 32] on reference:0, must be f16[>= 6, 4, 32]"));
  EXPECT_FALSE(check_.Rows("x", good, DType::kF32, 5, 4, 32).ok());
  EXPECT_FALSE(check_.Rows("x", good, DType::kF16, 5, 2, 32).ok());
  EXPECT_FALSE(check_.Rows("x", good, DType::kF16, 5, 4, 16).ok());
  const TensorView strided =
      *TensorView::Create(kBase, DType::kF16, {5, 4, 8}, {64, 16, 2}, kDevice);
  EXPECT_THAT(check_.Rows("x", strided, DType::kF16, 5, 4, 8).message(),
              HasSubstr("stride 2 along the head"));
}

TEST_F(ViewCheckTest, LseAndTables) {
  EXPECT_TRUE(check_.Lse("lse", View(DType::kF32, {5, 4}), 5, 4).ok());
  EXPECT_FALSE(check_.Lse("lse", View(DType::kF32, {5, 4}), 6, 4).ok());
  EXPECT_FALSE(check_.Lse("lse", View(DType::kF16, {5, 4}), 5, 4).ok());
  EXPECT_THAT(check_.Lse("lse", {}, 5, 4).message(), HasSubstr("lse is not given, must be f32"));
  EXPECT_TRUE(check_.Table("t", View(DType::kI32, {3, 8}), DType::kI32, 8).ok());
  EXPECT_FALSE(check_.Table("t", View(DType::kI32, {3, 7}), DType::kI32, 8).ok());
  EXPECT_FALSE(check_.Table("t", View(DType::kI64, {3}), DType::kI32, 0).ok());
  const TensorView gaps = *TensorView::Create(kBase, DType::kI32, {3}, {2}, kDevice);
  EXPECT_FALSE(check_.Table("t", gaps, DType::kI32, 0).ok());
  EXPECT_TRUE(check_.OptionalFloats("f", {}, 4).ok());
  EXPECT_TRUE(check_.OptionalFloats("f", View(DType::kF32, {4}), 4).ok());
  EXPECT_FALSE(check_.OptionalFloats("f", View(DType::kF32, {5}), 4).ok());
}

TEST_F(ViewCheckTest, CacheNamesTheSegment) {
  const KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kF16, 4, 1, 32);  // 512 bytes a block
  EXPECT_TRUE(check_.Cache("c", *KvCacheView::OneAllocation(layout, kBase, 8, kDevice)).ok());
  EXPECT_THAT(check_.Cache("c", {}).message(), HasSubstr("c is not given"));
  const KvSegment first = {kBase, kBase + 256, 4}, second = {kBase + 2048, kBase + 4096, 4};
  EXPECT_THAT(check_.Cache("c", *KvCacheView::Create(layout, kDevice, {first, second})).message(),
              HasSubstr("c, segment 1"));
}

TEST_F(ViewCheckTest, Overlap) {
  const TensorView a = View(DType::kF32, {16}), b = View(DType::kF32, {16}, 60),
                   c = View(DType::kF32, {16}, 64), none = View(DType::kF32, {0}, 8);
  EXPECT_THAT(CheckDisjoint("a", a, "b", b).message(), HasSubstr("a overlaps b"));
  EXPECT_TRUE(CheckDisjoint("a", a, "c", c).ok());
  EXPECT_TRUE(CheckDisjoint("a", a, "none", none).ok());
  EXPECT_TRUE(CheckDisjointOrSame("a", a, "a", a).ok());
  EXPECT_FALSE(CheckDisjointOrSame("a", a, "b", b).ok());
  // The same memory as another shape is not the same view.
  const TensorView square = View(DType::kF32, {4, 4});
  const TensorView turned = *TensorView::Create(kBase, DType::kF32, {4, 4}, {1, 4}, kDevice);
  EXPECT_FALSE(CheckDisjointOrSame("a", a, "square", square).ok());
  EXPECT_FALSE(CheckDisjointOrSame("square", square, "turned", turned).ok());
  EXPECT_FALSE(CheckDisjointOrSame("a", a, "i32", View(DType::kI32, {16})).ok());
}

TEST_F(ViewCheckTest, OverlapInside) {
  const auto strided = [](std::vector<int64_t> extents, std::vector<int64_t> strides) {
    return CheckNoOverlapInside("out",
                                *TensorView::Create(kBase, DType::kF32, extents, strides, kDevice));
  };
  EXPECT_TRUE(strided({3, 4}, {4, 1}).ok());
  EXPECT_TRUE(strided({3, 4}, {1, 3}).ok());
  EXPECT_TRUE(strided({1, 4}, {0, 1}).ok());
  EXPECT_TRUE(strided({0, 4}, {0, 0}).ok());
  EXPECT_FALSE(strided({3, 4}, {3, 1}).ok());
  EXPECT_THAT(strided({3, 4}, {0, 1}).message(), HasSubstr("stride 0"));
}

TEST_F(ViewCheckTest, OverlapWithTheCache) {
  const KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kF16, 4, 1, 32);
  const KvCacheView cache = *KvCacheView::OneAllocation(layout, kBase + 512, 2, kDevice);
  EXPECT_TRUE(CheckDisjointFromCache("x", View(DType::kU8, {512}), cache).ok());
  EXPECT_THAT(CheckDisjointFromCache("x", View(DType::kU8, {513}), cache).message(),
              HasSubstr("x overlaps the KV cache"));
  EXPECT_FALSE(CheckDisjointFromCache("x", View(DType::kU8, {1}, 1535), cache).ok());
  EXPECT_TRUE(CheckDisjointFromCache("x", View(DType::kU8, {1}, 1536), cache).ok());
}

class HeadValuesTest : public ViewCheckTest {
 protected:
  HeadValuesTest() {
    spec_.num_heads = 4;
    spec_.num_kv_heads = 2;
    spec_.head_size = 32;
  }
  AttentionSpec spec_;
};

TEST_F(HeadValuesTest, ScalesPerHead) {
  EXPECT_THAT(ScalesPerHead({}, spec_), IsEmpty());
  EXPECT_THAT(ScalesPerHead({1.0f}, spec_), IsEmpty());  // f16: rows are copied as they are
  spec_.kv_dtype = DType::kF8E4M3;
  EXPECT_THAT(ScalesPerHead({}, spec_), IsEmpty());
  EXPECT_THAT(ScalesPerHead({0.5f}, spec_), ElementsAre(0.5f, 0.5f));
  EXPECT_THAT(ScalesPerHead({0.5f, 2.0f}, spec_), ElementsAre(0.5f, 2.0f));
}

TEST_F(HeadValuesTest, ArraysMustBeThoseOfTheSpec) {
  HeadValues values;
  EXPECT_TRUE(CheckHeadValues(spec_, values).ok());
  values.sinks = View(DType::kF32, {4});
  EXPECT_THAT(CheckHeadValues(spec_, values).message(), HasSubstr("sinks is f32[4]"));
  spec_.sinks = {1, 2, 3, 4};
  EXPECT_TRUE(CheckHeadValues(spec_, values).ok());
  values.sinks = View(DType::kF32, {3});
  EXPECT_THAT(CheckHeadValues(spec_, values).message(), HasSubstr("must be contiguous f32[4]"));
  values.sinks = View(DType::kF16, {4});
  EXPECT_FALSE(CheckHeadValues(spec_, values).ok());
  values.sinks = View(DType::kF32, {4});
  spec_.alibi_slopes = {1, 2, 3, 4};
  EXPECT_THAT(CheckHeadValues(spec_, values).message(), HasSubstr("ALiBi slopes is not given"));
  values.alibi_slopes = View(DType::kF32, {4}, 16);
  spec_.kv_dtype = DType::kF8E5M2;
  spec_.k_scales = {0.5f};
  EXPECT_THAT(CheckHeadValues(spec_, values).message(), HasSubstr("k_scales is not given"));
  values.k_scales = View(DType::kF32, {2}, 32);
  EXPECT_TRUE(CheckHeadValues(spec_, values).ok());
  values.v_scales = View(DType::kF32, {2}, 64);
  EXPECT_THAT(CheckHeadValues(spec_, values).message(), HasSubstr("the layer's spec has none"));
}

}  // namespace
}  // namespace weft
