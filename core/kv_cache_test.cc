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

TEST(KvCacheLayoutTest, HndPutsHeadsBeforeTokens) {
  const KvCacheLayout layout = *KvCacheLayout::Hnd(DType::kF16, 16, 2, 64);
  const KvStrides want = {2 * 16 * 2 * 64, 64, 16 * 64};
  EXPECT_EQ(layout.key_strides(), want);
  EXPECT_EQ(layout.value_strides(), want);
  EXPECT_EQ(layout.value_offset(), 16 * 2 * 64);
}

// Seed 003: key [blocks, heads, d / x, block, x], value [blocks, heads, d, block].
TEST(KvCacheLayoutTest, SplitXPlacesEachElementAsItsTensorsDo) {
  constexpr int64_t kBlock = 5, kHeads = 3, kHeadSize = 24, kX = 8;
  const KvCacheLayout layout = *KvCacheLayout::SplitX(DType::kF16, kBlock, kHeads, kHeadSize, kX);
  const auto offset = [](const KvStrides& s, int64_t block, int64_t token, int64_t head,
                         int64_t d) {
    return block * s.block + token * s.token + head * s.head + DimOffset(s, d);
  };
  for (int64_t block : {0, 2}) {
    for (int64_t head = 0; head < kHeads; ++head) {
      for (int64_t token = 0; token < kBlock; ++token) {
        for (int64_t d = 0; d < kHeadSize; ++d) {
          const int64_t row = block * kHeads + head;
          ASSERT_EQ(offset(layout.key_strides(), block, token, head, d),
                    ((row * (kHeadSize / kX) + d / kX) * kBlock + token) * kX + d % kX);
          ASSERT_EQ(offset(layout.value_strides(), block, token, head, d),
                    (row * kHeadSize + d) * kBlock + token);
        }
      }
    }
  }
  EXPECT_EQ(*layout.KeySpanBytes(7), 7 * kBlock * kHeads * kHeadSize * 2);
  EXPECT_EQ(*layout.ValueSpanBytes(7), 7 * kBlock * kHeads * kHeadSize * 2);
  const KvCacheView view = *KvCacheView::OneAllocation(layout, 4096, 7, kDevice);
  EXPECT_EQ(view.segments()[0].value_base, 4096 + 7 * kBlock * kHeads * kHeadSize * 2);
  EXPECT_THAT(KvCacheLayout::SplitX(DType::kF16, 5, 3, 24, 7).status().message(),
              HasSubstr("runs of 7"));
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

TEST_F(KvCacheViewTest, BlocksOfAddresses) {
  const auto bytes = static_cast<uint64_t>(layout_.bytes_per_block());
  const uint64_t a = 1 << 20, b = 3 << 20;
  const KvCacheView view =
      *KvCacheView::Create(layout_, kDevice, {{a, a + 4096, 5}, {b, b + 4096, 2}});
  EXPECT_THAT(*BlocksOfAddresses(view, {b + bytes, a, a + 4 * bytes, b}),
              testing::ElementsAre(6, 0, 4, 5));
  const auto error = [&](uint64_t address) {
    return std::string(BlocksOfAddresses(view, {a, address}).status().message());
  };
  EXPECT_THAT(error(a + 5 * bytes), HasSubstr("column 1: KV cache: address 0x"));
  EXPECT_THAT(error(a + 5 * bytes), HasSubstr("inside none of 2 segments"));
  EXPECT_THAT(error(a - 2), HasSubstr("inside none"));
  EXPECT_THAT(error(a + bytes + 2), HasSubstr("2 bytes inside a block"));
}

}  // namespace
}  // namespace weft
