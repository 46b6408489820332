// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/hazard_tracker.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace weft::vulkan {
namespace {

Access Read(uint64_t begin, uint64_t end) { return {{begin, end}, false}; }
Access Write(uint64_t begin, uint64_t end) { return {{begin, end}, true}; }

TEST(RangeSetTest, MergesWhatTouchesAndOverlaps) {
  RangeSet set;
  set.Add({10, 20});
  set.Add({30, 40});
  EXPECT_EQ(set.size(), 2);
  set.Add({20, 30});
  EXPECT_EQ(set.size(), 1);
  set.Add({5, 5});
  EXPECT_EQ(set.size(), 1);
  EXPECT_TRUE(set.Overlaps({39, 50}));
  EXPECT_TRUE(set.Overlaps({0, 11}));
  EXPECT_FALSE(set.Overlaps({40, 50}));
  EXPECT_FALSE(set.Overlaps({0, 10}));
  EXPECT_FALSE(set.Overlaps({15, 15}));
}

TEST(RangeSetTest, AgreesWithABitPerAddress) {
  std::mt19937 random(7);
  std::uniform_int_distribution<uint64_t> place(0, 63);
  for (int round = 0; round < 200; ++round) {
    RangeSet set;
    std::vector<bool> bits(64, false);
    for (int i = 0; i < 12; ++i) {
      MemoryRange added{place(random), place(random)};
      set.Add(added);
      for (uint64_t a = added.begin; a < added.end; ++a) bits[a] = true;
      MemoryRange asked{place(random), place(random)};
      bool expected = false;
      for (uint64_t a = asked.begin; a < asked.end; ++a) expected = expected || bits[a];
      ASSERT_EQ(set.Overlaps(asked), expected)
          << "round " << round << ", [" << asked.begin << ", " << asked.end << ")";
    }
  }
}

TEST(HazardTrackerTest, ThreeHazardsNeedABarrierAndReadsDoNot) {
  HazardTracker tracker;
  tracker.Record({Read(0, 100), Write(200, 300)});
  EXPECT_FALSE(tracker.NeedsBarrier({Read(0, 100)}));
  EXPECT_TRUE(tracker.NeedsBarrier({Write(99, 101)}));    // write after read
  EXPECT_TRUE(tracker.NeedsBarrier({Read(299, 400)}));    // read after write
  EXPECT_TRUE(tracker.NeedsBarrier({Write(150, 201)}));   // write after write
  EXPECT_FALSE(tracker.NeedsBarrier({Write(100, 200)}));  // between the two
  EXPECT_FALSE(tracker.NeedsBarrier({Read(300, 400), Write(300, 400)}));
  tracker.Barrier();
  EXPECT_FALSE(tracker.NeedsBarrier({Write(0, 1000)}));
}

TEST(HazardTrackerTest, AnOperationMayReadWhatItWrites) {
  HazardTracker tracker;
  EXPECT_FALSE(tracker.NeedsBarrier({Read(0, 10), Write(0, 10)}));
}

TEST(HazardCheckerTest, NamesOperationsKindAndRange) {
  HazardChecker checker;
  checker.Operation("fill", {Write(0x1000, 0x2000)});
  checker.Operation("gather", {Read(0x1f00, 0x3000), Write(0x8000, 0x9000)});
  absl::Status status = checker.Check();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "no barrier between entry 0 (fill) and entry 1 (gather): read after write of addresses "
            "[0x1f00, 0x2000)");

  checker.Clear();
  checker.Operation("read", {Read(0, 8)});
  checker.Operation("write", {Write(4, 12)});
  EXPECT_NE(checker.Check().message().find("write after read"), std::string::npos);

  checker.Clear();
  checker.Operation("one", {Write(0, 8)});
  checker.Operation("two", {Write(4, 12)});
  EXPECT_NE(checker.Check().message().find("write after write"), std::string::npos);

  checker.Clear();
  checker.Operation("one", {Write(0, 8)});
  checker.Barrier();
  checker.Operation("two", {Read(0, 8)});
  checker.Operation("three", {Read(0, 8), Write(8, 16)});
  EXPECT_TRUE(checker.Check().ok()) << checker.Check();
  EXPECT_EQ(checker.num_operations(), 3);
  EXPECT_EQ(checker.num_barriers(), 1);
}

// A stream that places its barriers by the tracker satisfies the checker; with any one of them left
// out it does not, since the tracker asks for a barrier only where there is a hazard.
TEST(HazardCheckerTest, EveryBarrierOfTheTrackerIsMissed) {
  std::mt19937 random(11);
  std::uniform_int_distribution<uint64_t> place(0, 400);
  std::uniform_int_distribution<int> length(1, 40), coin(0, 1);
  int64_t removed = 0;
  for (int round = 0; round < 50; ++round) {
    std::vector<std::vector<Access>> operations(12);
    for (auto& accesses : operations) {
      for (int i = 0; i < 3; ++i) {
        const uint64_t begin = place(random);
        accesses.push_back({{begin, begin + length(random)}, coin(random) == 1});
      }
    }
    HazardTracker tracker;
    std::vector<bool> barrier_before(operations.size());
    for (size_t i = 0; i < operations.size(); ++i) {
      barrier_before[i] = tracker.NeedsBarrier(operations[i]);
      if (barrier_before[i]) tracker.Barrier();
      tracker.Record(operations[i]);
    }
    // skipped == operations.size(): all of them in place.
    for (size_t skipped = 0; skipped <= operations.size(); ++skipped) {
      if (skipped < operations.size() && !barrier_before[skipped]) continue;
      HazardChecker checker;
      for (size_t i = 0; i < operations.size(); ++i) {
        if (barrier_before[i] && i != skipped) checker.Barrier();
        checker.Operation("operation", operations[i]);
      }
      ASSERT_EQ(checker.Check().ok(), skipped == operations.size()) << "round " << round;
      removed += skipped < operations.size() ? 1 : 0;
    }
  }
  EXPECT_GT(removed, 100);
}

}  // namespace
}  // namespace weft::vulkan
