// SPDX-License-Identifier: Apache-2.0
#include "core/kv_cache.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

constexpr DeviceId kDevice = {BackendKind::kVulkan, 0};

TEST(KvCacheLayoutTest, NhdIsTheSeedsShape) {
  // [num_blocks, 2, 16, 3, 64]
  const absl::StatusOr<KvCacheLayout> layout = KvCacheLayout::Nhd(DType::kF16, 16, 3, 64);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->key_strides().head, 64);
  EXPECT_EQ(layout->key_strides().token, 3 * 64);
  EXPECT_EQ(layout->key_strides().block, 2 * 16 * 3 * 64);
  EXPECT_TRUE(layout->value_strides() == layout->key_strides());
  EXPECT_EQ(layout->value_offset(), 16 * 3 * 64);
  EXPECT_EQ(layout->bytes_per_block(), 2 * 16 * 3 * 64 * 2);
  // The keys of two blocks end where the values of the second begin.
  EXPECT_EQ(*layout->KeySpanBytes(2), (2 * 16 * 3 * 64 + 16 * 3 * 64) * 2);
  EXPECT_EQ(*layout->KeySpanBytes(0), 0);
}

TEST(KvCacheLayoutTest, AnyBlockSize) {
  for (const int64_t block_size : {1, 3, 17, 544}) {
    EXPECT_TRUE(KvCacheLayout::Nhd(DType::kBF16, block_size, 1, 80).ok()) << block_size;
  }
}

TEST(KvCacheLayoutTest, RefusesByName) {
  const auto message = [](int64_t block_size, int64_t heads, int64_t size) {
    return std::string(KvCacheLayout::Nhd(DType::kF16, block_size, heads, size).status().message());
  };
  EXPECT_THAT(message(0, 1, 64), HasSubstr("block size is 0"));
  EXPECT_THAT(message(16, -1, 64), HasSubstr("number of KV heads is -1"));
  EXPECT_THAT(message(16, 1, 0), HasSubstr("head size is 0"));
  EXPECT_EQ(KvCacheLayout::Nhd(DType::kF16, int64_t{1} << 30, int64_t{1} << 20, int64_t{1} << 20)
                .status()
                .code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_THAT(KvCacheLayout::Nhd(DType::kI32, 16, 1, 64).status().message(), HasSubstr("i32"));
}

TEST(KvCacheLayoutTest, StridedRefusesOverlappingRows) {
  const auto layout = [](KvStrides strides) {
    return KvCacheLayout::Strided(DType::kF16, 4, 2, 64, strides, strides, 0, 0).status();
  };
  EXPECT_TRUE(layout({1024, 128, 64}).ok());
  EXPECT_TRUE(layout({1024, 64, 256}).ok());  // heads outside tokens
  EXPECT_FALSE(layout({1024, 64, 64}).ok());
  EXPECT_FALSE(layout({1024, 128, 63}).ok());
  EXPECT_THAT(layout({-1, 128, 64}).message(), HasSubstr("block stride is -1"));
}

TEST(KvCacheLayoutTest, SpanOverflowIsAnError) {
  const absl::StatusOr<KvCacheLayout> layout = KvCacheLayout::Nhd(DType::kF16, 16, 8, 128);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->KeySpanBytes(int64_t{1} << 62).status().code(), absl::StatusCode::kOutOfRange);
}

class KvCacheViewTest : public testing::Test {
 protected:
  KvCacheLayout layout_ = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64);
};

TEST_F(KvCacheViewTest, OneAllocation) {
  const absl::StatusOr<KvCacheView> view = KvCacheView::OneAllocation(layout_, 4096, 7, kDevice);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->num_blocks(), 7);
  EXPECT_EQ(view->num_slots(), 7 * 16);
  EXPECT_EQ(view->segments()[0].key_base, 4096);
  EXPECT_EQ(view->segments()[0].value_base, 4096 + 16 * 2 * 64 * 2);
}

TEST_F(KvCacheViewTest, SegmentsAreAlikeButTheLast) {
  const auto create = [&](const std::vector<KvSegment>& segments) {
    return KvCacheView::Create(layout_, kDevice, segments);
  };
  const absl::StatusOr<KvCacheView> view =
      create({{4096, 8192, 5}, {1 << 20, 2 << 20, 5}, {3 << 20, 4 << 20, 2}});
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->num_blocks(), 12);
  EXPECT_EQ(view->blocks_per_segment(), 5);
  EXPECT_THAT(create({{4096, 8192, 5}, {4096, 8192, 4}, {4096, 8192, 5}}).status().message(),
              HasSubstr("segment 1 has 4 blocks"));
  EXPECT_THAT(create({{4096, 8192, 5}, {4096, 8192, 6}}).status().message(),
              HasSubstr("segment 1 has 6 blocks"));
  EXPECT_THAT(create({{4096, 8192, 0}}).status().message(), HasSubstr("segment 0 has 0 blocks"));
  EXPECT_THAT(create({{4096, 0, 1}}).status().message(), HasSubstr("null"));
  EXPECT_THAT(create({{4097, 8192, 1}}).status().message(), HasSubstr("not aligned"));
  EXPECT_EQ(create({{4096, 8192, int64_t{1} << 31}}).status().code(),
            absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace weft
