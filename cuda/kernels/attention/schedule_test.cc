// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/schedule.h"

#include "cuda/kernels/attention/config.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

constexpr DecodeDevice kH200 = {132, 2, 4, 3};

TEST(ScheduleTest, FewGranulesTakeManyWarps) {
  const DecodeSchedule schedule = ScheduleDecode(kH200, {16, 8});
  EXPECT_EQ(schedule.warps, 4);
  EXPECT_EQ(schedule.long_units, 0);
  EXPECT_EQ(schedule.blocks, 16 * 8);
}

TEST(ScheduleTest, NeverMoreWarpsThanTheDeviceHasRoomFor) {
  DecodeDevice device = kH200;
  device.min_warps = device.max_warps = 1;
  EXPECT_EQ(ScheduleDecode(device, {1, 1}).warps, 1);
}

TEST(ScheduleTest, ManyGranulesBeginLongAndEndShort) {
  const DecodeSchedule schedule = ScheduleDecode(kH200, {1024, 8});
  EXPECT_EQ(schedule.warps, 2);
  // Two rounds of 396 blocks, 8 to a split, end it.
  constexpr int64_t kSingles = 99;
  EXPECT_EQ(schedule.long_units, (1024 - kSingles) / kFoldedGranules);
  const int64_t units = schedule.blocks / 8;
  const int64_t singles = units - schedule.long_units;
  EXPECT_GE(singles, kSingles);
  EXPECT_LT(singles, kSingles + kFoldedGranules);
}

TEST(ScheduleTest, BarelyEnoughGranulesAreNotFolded) {
  EXPECT_EQ(ScheduleDecode(kH200, {2 * 99, 8}).long_units, 0);
  EXPECT_GT(ScheduleDecode(kH200, {2 * 99 + 1, 8}).long_units, 0);
}

TEST(ScheduleTest, EachSplitIsInOneUnit) {
  for (int64_t splits = 1; splits < 3000; ++splits) {
    for (const int64_t blocks_of_split : {1, 3, 8, 32}) {
      const DecodeSchedule schedule = ScheduleDecode(kH200, {splits, blocks_of_split});
      const int64_t units = schedule.blocks / blocks_of_split;
      ASSERT_EQ(units * blocks_of_split, schedule.blocks);
      ASSERT_GE(units, schedule.long_units);
      ASSERT_EQ(schedule.long_units * kFoldedGranules + (units - schedule.long_units), splits);
    }
  }
}

TEST(ScheduleTest, OneMultiprocessorFoldsSmallBatches) {
  DecodeDevice device = kH200;
  device.multiprocessors = 1;
  const DecodeSchedule schedule = ScheduleDecode(device, {5, 8});
  EXPECT_EQ(schedule.warps, 2);
  EXPECT_EQ(schedule.long_units, 1);
}

}  // namespace
}  // namespace weft::cuda
