// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/block_allocator.h"

#include <algorithm>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/replay/random.h"

namespace weft::replay {
namespace {

using ::testing::SizeIs;

Sequence Make(int64_t prompt, int64_t total, absl::Span<const int64_t> ids) {
  Sequence sequence;
  sequence.prompt_length = prompt;
  sequence.total_length = total;
  sequence.hash_ids = ids;
  return sequence;
}

// Admits, computes everything and commits it.
Sequence Computed(BlockAllocator& allocator, int64_t prompt, int64_t total,
                  absl::Span<const int64_t> ids) {
  Sequence sequence = Make(prompt, total, ids);
  EXPECT_TRUE(allocator.Admit(sequence));
  allocator.Grow(sequence, total);
  allocator.Commit(sequence, total);
  return sequence;
}

TEST(BlockAllocator, ReusesAPrefixWhileItsOwnerRunsAndAfter) {
  BlockAllocator allocator(16, 4, 8);
  const std::vector<int64_t> a = {0, 1, 2}, b = {0, 1, 3};
  Sequence first = Computed(allocator, 24, 26, a);
  EXPECT_THAT(first.blocks, SizeIs(7));
  Sequence second = Computed(allocator, 24, 25, b);
  EXPECT_EQ(second.reused_tokens, 16);
  EXPECT_TRUE(std::equal(first.blocks.begin(), first.blocks.begin() + 4, second.blocks.begin()));
  EXPECT_NE(first.blocks[4], second.blocks[4]);
  allocator.Release(first);
  allocator.Release(second);
  EXPECT_EQ(allocator.counts().used, 0);
  EXPECT_EQ(allocator.counts().cached, 6 + 2);
  Sequence third = Make(24, 24, a);
  ASSERT_TRUE(allocator.Admit(third));
  EXPECT_EQ(third.reused_tokens, 20);  // not the last block: one token must be computed
}

TEST(BlockAllocator, NothingIsFoundBeforeItIsComputed) {
  BlockAllocator allocator(16, 4, 8);
  const std::vector<int64_t> ids = {0, 1};
  Sequence first = Make(16, 16, ids);
  ASSERT_TRUE(allocator.Admit(first));
  allocator.Grow(first, 7);
  allocator.Commit(first, 7);
  Sequence second = Make(16, 16, ids);
  ASSERT_TRUE(allocator.Admit(second));
  EXPECT_EQ(second.reused_tokens, 4);
}

TEST(BlockAllocator, ABlockAcrossTwoIdsNeedsBoth) {
  BlockAllocator allocator(32, 6, 4);  // blocks hold ids [0 1], [1 2], [3 4], [4 5]
  const std::vector<int64_t> a = {10, 11, 12, 13, 14, 15}, b = {10, 11, 99, 13, 14, 15};
  Computed(allocator, 24, 24, a);
  Sequence second = Make(24, 25, b);
  ASSERT_TRUE(allocator.Admit(second));
  EXPECT_EQ(second.reused_tokens, 6);
}

TEST(BlockAllocator, TheSameIdsBehindAnotherPrefixAreNotTheSame) {
  BlockAllocator allocator(32, 4, 4);
  const std::vector<int64_t> a = {1, 2, 3}, b = {9, 2, 3};
  Computed(allocator, 12, 13, a);
  Sequence second = Make(12, 13, b);
  ASSERT_TRUE(allocator.Admit(second));
  EXPECT_EQ(second.reused_tokens, 0);
}

TEST(BlockAllocator, WithoutIdsNothingIsShared) {
  BlockAllocator allocator(32, 4, 8);
  Sequence first = Computed(allocator, 16, 16, {});
  Sequence second = Computed(allocator, 16, 16, {});
  EXPECT_EQ(second.reused_tokens, 0);
  allocator.Release(first);
  EXPECT_EQ(allocator.counts().cached, 0);
}

TEST(BlockAllocator, OutputTokensAreNeverShared) {
  BlockAllocator allocator(32, 4, 4);
  const std::vector<int64_t> ids = {1, 2};
  Sequence first = Computed(allocator, 6, 16, ids);  // the second block is half prompt, half output
  allocator.Release(first);
  EXPECT_EQ(allocator.counts().cached, 1);
}

TEST(BlockAllocator, GivesUpTheOldestAndItsChildrenFirst) {
  BlockAllocator allocator(6, 4, 4);
  const std::vector<int64_t> a = {1, 2, 3}, b = {7, 8, 9}, c = {20};
  Sequence first = Computed(allocator, 12, 12, a);
  allocator.Release(first);
  Sequence second = Computed(allocator, 12, 12, b);
  allocator.Release(second);
  EXPECT_EQ(allocator.counts().cached, 6);
  Sequence third = Computed(allocator, 4, 4, c);
  allocator.Release(third);
  // One block went: the last of the first request. Its first two are still there.
  Sequence again = Make(12, 12, a);
  ASSERT_TRUE(allocator.Admit(again));
  EXPECT_EQ(again.reused_tokens, 8);
}

TEST(BlockAllocator, PromisesAreKept) {
  BlockAllocator allocator(4, 4, 4);
  Sequence first = Make(4, 12, {});
  ASSERT_TRUE(allocator.Admit(first));
  allocator.Grow(first, 1);
  Sequence second = Make(4, 8, {});
  EXPECT_FALSE(allocator.Admit(second));  // one block is free, two more are promised to the first
  EXPECT_THAT(second.blocks, SizeIs(0));
  Sequence third = Make(4, 4, {});
  EXPECT_TRUE(allocator.Admit(third));
  allocator.Grow(third, 4);
  allocator.Grow(first, 12);
  EXPECT_EQ(allocator.counts().used, 4);
}

TEST(BlockAllocator, TheSameComputedTwiceAtATimeIsKeptOnce) {
  BlockAllocator allocator(8, 4, 4);
  const std::vector<int64_t> ids = {1, 2};
  Sequence first = Make(8, 8, ids), second = Make(8, 8, ids);
  ASSERT_TRUE(allocator.Admit(first));
  ASSERT_TRUE(allocator.Admit(second));
  allocator.Grow(first, 8);
  allocator.Grow(second, 8);
  allocator.Commit(first, 8);
  allocator.Commit(second, 8);
  allocator.Release(second);
  EXPECT_EQ(allocator.counts().cached, 0);
  allocator.Release(first);
  EXPECT_EQ(allocator.counts().cached, 2);
}

// Against the rules themselves: a block that another request holds, or that can be found, is never
// handed out, and what is found was written for the same ids at the same place.
TEST(BlockAllocator, RandomTraffic) {
  constexpr int64_t kPage = 3, kHash = 5;
  Random random(1);
  BlockAllocator allocator(30, kPage, kHash);
  struct Live {
    Sequence sequence;
    std::vector<int64_t> ids;
  };
  std::vector<Live> live;
  // What each block holds: the ids of its tokens, with their positions.
  std::map<int32_t, std::vector<std::pair<int64_t, int64_t>>> written;
  const auto content = [&](const std::vector<int64_t>& ids, int64_t block) {
    std::vector<std::pair<int64_t, int64_t>> tokens;
    for (int64_t t = block * kPage; t < (block + 1) * kPage; ++t) {
      tokens.emplace_back(t, ids[t / kHash]);
    }
    return tokens;
  };
  int64_t reused = 0, refused = 0;
  for (int step = 0; step < 20000; ++step) {
    if (live.size() < 6 && random.Below(2) == 0) {
      Live next;
      const int64_t blocks = 1 + random.Below(5);
      for (int64_t i = 0; i < blocks; ++i) next.ids.push_back(random.Below(3));
      const int64_t prompt = (blocks - 1) * kHash + 1 + random.Below(kHash);
      next.sequence = Make(prompt, prompt + 1 + random.Below(10), next.ids);
      live.push_back(std::move(next));
      Live& added = live.back();
      added.sequence.hash_ids = added.ids;
      if (!allocator.Admit(added.sequence)) {
        ++refused;
        live.pop_back();
        continue;
      }
      const auto found = static_cast<int64_t>(added.sequence.blocks.size());
      ASSERT_LT(added.sequence.reused_tokens, prompt);
      for (int64_t b = 0; b < found; ++b) {
        ASSERT_EQ(written[added.sequence.blocks[b]], content(added.ids, b));
      }
      reused += found;
      allocator.Grow(added.sequence, added.sequence.total_length);
      for (size_t b = found; b < added.sequence.blocks.size(); ++b) {
        for (const Live& other : live) {
          if (&other == &added) continue;
          ASSERT_EQ(std::count(other.sequence.blocks.begin(), other.sequence.blocks.end(),
                               added.sequence.blocks[b]),
                    0);
        }
        written[added.sequence.blocks[b]].clear();
        if (static_cast<int64_t>(b + 1) * kPage <= prompt) {
          written[added.sequence.blocks[b]] = content(added.ids, static_cast<int64_t>(b));
        }
      }
      allocator.Commit(added.sequence, added.sequence.total_length);
    } else if (!live.empty()) {
      const int64_t at = random.Below(static_cast<int64_t>(live.size()));
      allocator.Release(live[at].sequence);
      live.erase(live.begin() + at);
      for (Live& moved : live) moved.sequence.hash_ids = moved.ids;
    }
  }
  EXPECT_GT(reused, 1000);
  EXPECT_GT(refused, 0);
  for (Live& left : live) allocator.Release(left.sequence);
  EXPECT_EQ(allocator.counts().used, 0);
}

}  // namespace
}  // namespace weft::replay
