// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/schedule.h"

#include <algorithm>
#include <cstdint>

#include "cuda/kernels/attention/config.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

// 264 places.
constexpr DecodeDevice kH200 = {132, 2, 4, 2};

TEST(ScheduleTest, FewGranulesTakeManyWarps) {
  const DecodeSchedule schedule = ScheduleDecode(kH200, {16, 8, false});
  EXPECT_EQ(schedule.warps, 4);
  EXPECT_EQ(schedule.long_units, 0);
  EXPECT_EQ(schedule.blocks, 16 * 8);
}

TEST(ScheduleTest, NeverMoreWarpsThanTheDeviceHasRoomFor) {
  DecodeDevice device = kH200;
  device.min_warps = device.max_warps = 1;
  EXPECT_EQ(ScheduleDecode(device, {1, 1, false}).warps, 1);
}

TEST(ScheduleTest, AFewForEachPlaceAreSharedOut) {
  const DecodeSchedule schedule = ScheduleDecode(kH200, {256, 8, false});
  EXPECT_EQ(schedule.warps, 2);
  // 33 units for each kv head, of 7.8 splits.
  EXPECT_EQ(schedule.unit_splits, 8);
  EXPECT_EQ(schedule.long_units, 32);
  EXPECT_EQ(schedule.blocks, 32 * 8);
}

TEST(ScheduleTest, WhatMayBeLessThanTheTableIsNotSharedOut) {
  const DecodeSchedule schedule = ScheduleDecode(kH200, {256, 8, true});
  EXPECT_EQ(schedule.unit_splits, kFoldedGranules);
  EXPECT_EQ(schedule.long_units, (256 - 66) / kFoldedGranules);
  EXPECT_EQ(ScheduleDecode(kH200, {100, 8, true}).blocks, 100 * 8);
}

TEST(ScheduleTest, TheLastUnitMayBeShorter) {
  const DecodeSchedule schedule = ScheduleDecode(kH200, {200, 8, false});
  EXPECT_EQ(schedule.unit_splits, 8);  // 7 and 1, so that groups are whole
  EXPECT_EQ(schedule.long_units, 25);
  const DecodeSchedule uneven = ScheduleDecode(kH200, {299, 8, false});
  EXPECT_EQ(uneven.unit_splits, 10);
  EXPECT_EQ(uneven.long_units, 30);  // the last has 9
  EXPECT_EQ(uneven.blocks, 30 * 8);
}

TEST(ScheduleTest, NoSharingOutThatLeavesPlacesEmpty) {
  // 200 blocks of 264 fit, 150 do not.
  EXPECT_EQ(ScheduleDecode(kH200, {5, 200, false}).unit_splits, 5);
  EXPECT_EQ(ScheduleDecode(kH200, {9, 150, false}).unit_splits, 4);
  EXPECT_EQ(ScheduleDecode(kH200, {3, 150, false}).long_units, 0);
}

TEST(ScheduleTest, ManyGranulesBeginLongAndEndShort) {
  const DecodeSchedule schedule = ScheduleDecode(kH200, {1024, 8, false});
  EXPECT_EQ(schedule.warps, 2);
  // Two rounds of 264 blocks, 8 to a split, end it.
  constexpr int64_t kSingles = 66;
  EXPECT_EQ(schedule.unit_splits, kFoldedGranules);
  EXPECT_EQ(schedule.long_units, (1024 - kSingles) / kFoldedGranules);
  const int64_t units = schedule.blocks / 8;
  const int64_t singles = units - schedule.long_units;
  EXPECT_GE(singles, kSingles);
  EXPECT_LT(singles, kSingles + kFoldedGranules);
}

// As a block finds its place (partial.cuh).
TEST(ScheduleTest, EachSplitIsInOneUnit) {
  for (int64_t splits = 1; splits < 3000; ++splits) {
    for (const int64_t blocks_of_split : {1, 3, 8, 32, 200, 500}) {
      const bool padded = splits % 2 == 0;
      const DecodeSchedule schedule = ScheduleDecode(kH200, {splits, blocks_of_split, padded});
      const int64_t units = schedule.blocks / blocks_of_split;
      ASSERT_EQ(units * blocks_of_split, schedule.blocks);
      ASSERT_GE(units, schedule.long_units);
      ASSERT_LE(schedule.unit_splits, kMaxUnit);
      int64_t next = 0;
      for (int64_t unit = 0; unit < units; ++unit) {
        const bool is_long = unit < schedule.long_units;
        const int64_t first = is_long ? unit * schedule.unit_splits
                                      : unit + schedule.long_units * (schedule.unit_splits - 1);
        ASSERT_EQ(first, next);
        next += is_long ? std::min(schedule.unit_splits, splits - first) : 1;
        ASSERT_GT(next, first);
      }
      ASSERT_EQ(next, splits);
    }
  }
}

TEST(ScheduleTest, OneMultiprocessorFoldsSmallBatches) {
  DecodeDevice device = kH200;
  device.multiprocessors = 1;
  const DecodeSchedule shared = ScheduleDecode(device, {5, 2, false});
  EXPECT_EQ(shared.warps, 2);
  EXPECT_EQ(shared.unit_splits, 5);
  const DecodeSchedule dealt = ScheduleDecode(device, {11, 2, false});
  EXPECT_EQ(dealt.unit_splits, kFoldedGranules);
  EXPECT_EQ(dealt.long_units, 2);
}

}  // namespace
}  // namespace weft::cuda
