// SPDX-License-Identifier: Apache-2.0
#include "vulkan/ops/attention_shape.h"

#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "vulkan/ops/grid.h"

namespace weft::vulkan {
namespace {

DeviceLimits Limits(uint32_t subgroup, bool software, int64_t shared = 32768) {
  DeviceLimits limits;
  limits.subgroup_size = subgroup;
  limits.is_software = software;
  limits.max_shared_memory_bytes = shared;
  limits.max_invocations = 1024;
  limits.max_group_count = {65535, 65535, 65535};
  return limits;
}

bool IsPowerOfTwo(uint32_t n) { return n != 0 && (n & (n - 1)) == 0; }

// What attention_core.glsl takes for granted.
void ExpectSound(const AttentionShape& shape, int64_t bucket) {
  SCOPED_TRACE(shape.ToString());
  EXPECT_TRUE(IsPowerOfTwo(shape.lanes) && IsPowerOfTwo(shape.rows) && IsPowerOfTwo(shape.keys));
  EXPECT_LE(shape.lanes, shape.subgroup);
  EXPECT_LE(shape.rows, shape.lanes);
  EXPECT_LE(shape.keys, shape.lanes);
  EXPECT_GE(shape.rows * shape.keys, shape.lanes);
  EXPECT_EQ(int64_t{shape.lanes} * shape.chunks * 16, bucket * SizeOf(shape.dtype));
  EXPECT_EQ(shape.threads % shape.subgroup, 0u);
  EXPECT_LE(shape.threads, 1024u);
}

TEST(AttentionShapeTest, IsSoundOnEveryDevice) {
  for (const uint32_t subgroup : {4, 8, 16, 32, 64}) {
    for (const bool software : {false, true}) {
      for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const int64_t bucket : {64, 128, 256}) {
          const DeviceLimits limits = Limits(subgroup, software);
          const AttentionShape prefill = PrefillShape(limits, dtype, bucket, true);
          ExpectSound(prefill, bucket);
          for (const int64_t group : {1, 2, 3, 4, 5, 8, 16, 71}) {
            ExpectSound(DecodeShape(limits, dtype, bucket, true, group), bucket);
            EXPECT_GE(TileTokens(prefill, group) * group, prefill.rows_per_group());
          }
        }
      }
    }
  }
}

// The specification's minimum.
TEST(AttentionShapeTest, FitsSmallSharedMemory) {
  for (const uint32_t subgroup : {8, 32, 64}) {
    for (const int64_t bucket : {64, 128, 256}) {
      for (const int64_t group : {1, 4, 8}) {
        const AttentionShape shape =
            DecodeShape(Limits(subgroup, false, 16384), DType::kF32, bucket, true, group);
        EXPECT_LE(DecodeSharedBytes(shape), 16384) << shape.ToString();
      }
    }
  }
}

TEST(AttentionShapeTest, BucketsCoverTheirHeadSizes) {
  for (int64_t size = kMinHeadSize; size <= kMaxHeadSize; ++size) {
    EXPECT_GE(HeadBucket(size), size);
    EXPECT_LE(HeadBucket(size), 256);
  }
}

TEST(FoldGridTest, CoversTheLine) {
  const DeviceLimits limits = Limits(32, false);
  for (const int64_t count :
       {int64_t{1}, int64_t{65535}, int64_t{65536}, int64_t{100001}, int64_t{2147483647}}) {
    absl::StatusOr<std::array<uint32_t, 3>> groups = FoldGrid(limits, count, "test");
    ASSERT_TRUE(groups.ok()) << groups.status();
    const int64_t covered = int64_t{(*groups)[0]} * (*groups)[1];
    EXPECT_LE((*groups)[0], 65535u);
    EXPECT_LE((*groups)[1], 65535u);
    EXPECT_GE(covered, count);
    EXPECT_LT(covered - count, (*groups)[1]) << "more to spare than the fold needs";
    EXPECT_LT(covered, int64_t{1} << 32);
  }
  EXPECT_EQ(FoldGrid(limits, 0, "test").status().code(), absl::StatusCode::kOutOfRange);
  absl::Status large = FoldGrid(limits, int64_t{1} << 31, "test").status();
  EXPECT_EQ(large.code(), absl::StatusCode::kOutOfRange);
  EXPECT_NE(large.message().find("2147483648"), std::string::npos) << large;
}

}  // namespace
}  // namespace weft::vulkan
