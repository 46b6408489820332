// SPDX-License-Identifier: Apache-2.0
//
// The formulas of docs/pcp_spec.md, 11 and 12: its tables, and everything by brute force.
#include "core/dcp_shard.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/attention_metadata.h"
#include "core/pcp_partition.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using Ints = std::vector<int64_t>;

DcpShard Shard(int64_t world, int64_t rank, int64_t interleave) {
  DcpShard shard;
  shard.world = world;
  shard.rank = rank;
  shard.interleave = interleave;
  return shard;
}

Ints LocalLengths(int64_t length, int64_t world, int64_t interleave) {
  Ints lengths;
  for (int64_t rank = 0; rank < world; ++rank)
    lengths.push_back(Shard(world, rank, interleave).LocalLength(length));
  return lengths;
}

TEST(DcpShardTest, TableOfLocalLengths) {
  struct Line {
    int64_t length;
    Ints cp2_i1, cp2_i4, cp4_i1, cp4_i2;
  };
  const std::vector<Line> lines = {
      {1, {1, 0}, {1, 0}, {1, 0, 0, 0}, {1, 0, 0, 0}},
      {5, {3, 2}, {4, 1}, {2, 1, 1, 1}, {2, 2, 1, 0}},
      {8, {4, 4}, {4, 4}, {2, 2, 2, 2}, {2, 2, 2, 2}},
      {9, {5, 4}, {5, 4}, {3, 2, 2, 2}, {3, 2, 2, 2}},
      {11, {6, 5}, {7, 4}, {3, 3, 3, 2}, {4, 3, 2, 2}},
      {13, {7, 6}, {8, 5}, {4, 3, 3, 3}, {4, 4, 3, 2}},
      {16, {8, 8}, {8, 8}, {4, 4, 4, 4}, {4, 4, 4, 4}},
      {25, {13, 12}, {13, 12}, {7, 6, 6, 6}, {7, 6, 6, 6}},
  };
  for (const Line& line : lines) {
    EXPECT_EQ(LocalLengths(line.length, 2, 1), line.cp2_i1) << line.length;
    EXPECT_EQ(LocalLengths(line.length, 2, 4), line.cp2_i4) << line.length;
    EXPECT_EQ(LocalLengths(line.length, 4, 1), line.cp4_i1) << line.length;
    EXPECT_EQ(LocalLengths(line.length, 4, 2), line.cp4_i2) << line.length;
  }
}

// Dealing tokens one by one says the same as every closed form.
TEST(DcpShardTest, EverythingByBruteForce) {
  for (const int64_t world : {1, 2, 3, 4, 8}) {
    for (const int64_t interleave : {1, 2, 4, 8}) {
      Ints held(world, 0);
      for (int64_t length = 0; length <= 129; ++length) {
        ASSERT_EQ(LocalLengths(length, world, interleave), held);
        const int64_t round = world * interleave;
        ASSERT_LE(*std::max_element(held.begin(), held.end()),
                  (length + round - 1) / round * interleave);
        const int64_t position = length;  // the next token
        const int64_t owner = position / interleave % world;
        for (int64_t rank = 0; rank < world; ++rank) {
          const DcpShard shard = Shard(world, rank, interleave);
          ASSERT_EQ(shard.OwnerOf(position), owner);
          ASSERT_EQ(shard.Owns(position), rank == owner);
          if (rank != owner) continue;
          ASSERT_EQ(shard.LocalIndex(position), held[rank]);
          ASSERT_EQ(shard.Position(held[rank]), position);
        }
        ++held[owner];
      }
      EXPECT_EQ(Shard(world, 0, interleave).Position(-1), -1);
    }
  }
}

// A query at position p sees LocalLength(p + 1) keys here; that is not the last query's number
// minus a constant.
TEST(DcpShardTest, LengthsOfEachQueryOfASpeculativeDecode) {
  Ints rank0, rank1;
  for (int64_t j = 0; j < 3; ++j) {
    rank0.push_back(Shard(2, 0, 4).LocalLength(6 + j + 1));
    rank1.push_back(Shard(2, 1, 4).LocalLength(6 + j + 1));
  }
  EXPECT_THAT(rank0, ElementsAre(4, 4, 5));
  EXPECT_THAT(rank1, ElementsAre(3, 4, 4));
}

TEST(DcpShardTest, Validate) {
  EXPECT_TRUE(Shard(4, 3, 8).Validate(16).ok());
  EXPECT_TRUE(Shard(1, 0, 1).Validate(1).ok());
  EXPECT_TRUE(Shard(2, 0, 3).Validate(0).ok());  // no block size to look at
  EXPECT_THAT(Shard(0, 0, 1).Validate(16).message(), HasSubstr("world 0"));
  EXPECT_THAT(Shard(2, 0, 0).Validate(16).message(), HasSubstr("interleave 0"));
  EXPECT_THAT(Shard(2, 2, 1).Validate(16).message(), HasSubstr("rank 2 of a group of 2"));
  EXPECT_THAT(Shard(2, -1, 1).Validate(16).message(), HasSubstr("rank -1"));
  EXPECT_THAT(Shard(2, 0, 3).Validate(16).message(),
              HasSubstr("block size 16 is no multiple of the interleave 3"));
}

class DcpSlotsTest : public testing::Test {
 protected:
  void Add(RequestKind kind, int64_t new_tokens, int64_t computed,
           absl::Span<const int32_t> blocks) {
    Request request;
    request.kind = kind;
    request.num_new_tokens = new_tokens;
    request.num_computed_tokens = computed;
    request.block_ids = blocks;
    batch_.requests.push_back(request);
  }

  AttentionMetadata Build(const DcpShard& dcp) {
    MetadataOptions options;
    options.dcp = dcp;
    auto metadata = AttentionMetadataBuilder(layout_, 32).Build(batch_, options);
    EXPECT_TRUE(metadata.ok()) << metadata.status();
    return *metadata;
  }

  Ints Slots(int64_t world, int64_t rank, int64_t interleave) {
    const AttentionMetadata metadata = Build(Shard(world, rank, interleave));
    return {metadata.slot_mapping().begin(), metadata.slot_mapping().end()};
  }

  KvCacheLayout layout_ = *KvCacheLayout::Nhd(DType::kF16, /*block_size=*/4, 1, 32);
  RequestBatch batch_;
};

TEST_F(DcpSlotsTest, TableOfSlots) {
  const std::vector<int32_t> table = {7, 9};
  Add(RequestKind::kPrefill, 11, 0, table);
  EXPECT_EQ(Slots(2, 0, 1), (Ints{28, -1, 29, -1, 30, -1, 31, -1, 36, -1, 37}));
  EXPECT_EQ(Slots(2, 1, 1), (Ints{-1, 28, -1, 29, -1, 30, -1, 31, -1, 36, -1}));
  EXPECT_EQ(Slots(2, 0, 2), (Ints{28, 29, -1, -1, 30, 31, -1, -1, 36, 37, -1}));
  EXPECT_EQ(Slots(2, 1, 2), (Ints{-1, -1, 28, 29, -1, -1, 30, 31, -1, -1, 36}));
  EXPECT_EQ(Slots(2, 0, 4), (Ints{28, 29, 30, 31, -1, -1, -1, -1, 36, 37, 38}));
  EXPECT_EQ(Slots(2, 1, 4), (Ints{-1, -1, -1, -1, 28, 29, 30, 31, -1, -1, -1}));
  const AttentionMetadata metadata = Build(Shard(2, 0, 1));
  EXPECT_EQ(metadata.tokens_per_block(), 8);
  EXPECT_THAT(metadata.blocks(0), ElementsAre(7, 9));
}

// Section 12: DCP's slots, then PCP's padding.
TEST_F(DcpSlotsTest, PcpTimesDcp) {
  const std::vector<int32_t> a = {3, 4}, b = {10}, c = {20};
  Add(RequestKind::kDecode, 1, 10, a);
  Add(RequestKind::kPrefill, 5, 0, b);
  Add(RequestKind::kPrefill, 8, 0, c);
  const Ints in[2][2] = {{{17, 40, -1, 41, -1, 42, 80, -1, 81, -1, 82, -1, 83, -1},
                          {-1, -1, 40, -1, 41, -1, -1, 80, -1, 81, -1, 82, -1, 83}},
                         {{-1, 40, 41, -1, -1, 42, 80, 81, -1, -1, 82, 83, -1, -1},
                          {16, -1, -1, 40, 41, -1, -1, -1, 80, 81, -1, -1, 82, 83}}};
  const Ints out[2][2] = {
      {{17, -1, 40, -1, 41, -1, 42, -1, -1, -1, 80, -1, 81, -1, 82, -1, 83, -1},
       {-1, -1, -1, 40, -1, 41, -1, -1, -1, -1, -1, 80, -1, 81, -1, 82, -1, 83}},
      {{-1, -1, 40, 41, -1, -1, 42, -1, -1, -1, 80, 81, -1, -1, 82, 83, -1, -1},
       {16, -1, -1, -1, 40, 41, -1, -1, -1, -1, -1, -1, 80, 81, -1, -1, 82, 83}}};
  for (const int64_t interleave : {1, 2}) {
    for (const int64_t rank : {0, 1}) {
      const AttentionMetadata metadata = Build(Shard(2, rank, interleave));
      EXPECT_THAT(metadata.slot_mapping(), ElementsAreArray(in[interleave - 1][rank]));
      const auto partition = PcpPartition::Build(ShapesOf(metadata), 2);
      ASSERT_TRUE(partition.ok());
      const auto padded = partition->PadSlots(metadata.slot_mapping());
      ASSERT_TRUE(padded.ok());
      EXPECT_EQ(*padded, out[interleave - 1][rank]);
    }
  }
}

// Every token of a step has one slot on one rank, at LocalIndex behind its block.
TEST_F(DcpSlotsTest, EveryTokenOnce) {
  const std::vector<int32_t> table = {5, 2, 30, 11, 0, 19, 8};
  Add(RequestKind::kPrefill, 50, 6, table);
  for (const int64_t world : {2, 3, 4}) {
    for (const int64_t interleave : {1, 2, 4}) {
      std::map<std::pair<int64_t, int64_t>, int64_t> token_at;  // (rank, slot) -> position
      for (int64_t rank = 0; rank < world; ++rank) {
        const Ints slots = Slots(world, rank, interleave);
        ASSERT_EQ(slots.size(), 50);
        for (int64_t i = 0; i < 50; ++i) {
          const DcpShard shard = Shard(world, rank, interleave);
          ASSERT_EQ(slots[i] >= 0, shard.Owns(6 + i));
          if (slots[i] < 0) continue;
          const int64_t local = shard.LocalIndex(6 + i);
          ASSERT_EQ(slots[i], table[local / 4] * 4 + local % 4);
          ASSERT_TRUE(token_at.emplace(std::pair(rank, slots[i]), 6 + i).second);
        }
      }
      EXPECT_EQ(token_at.size(), 50);
    }
  }
}

TEST_F(DcpSlotsTest, RefusedWithMetadata) {
  const std::vector<int32_t> table = {1};
  Add(RequestKind::kPrefill, 3, 0, table);
  MetadataOptions options;
  options.dcp = Shard(2, 0, 3);
  EXPECT_THAT(AttentionMetadataBuilder(layout_, 32).Build(batch_, options).status().message(),
              HasSubstr("block size 4 is no multiple of the interleave 3"));
  // Two ranks hold eight tokens in one block of each.
  batch_.requests[0].num_new_tokens = 9;
  options.dcp = Shard(2, 0, 1);
  EXPECT_THAT(AttentionMetadataBuilder(layout_, 32).Build(batch_, options).status().message(),
              HasSubstr("1 block ids, but 9 tokens in blocks of 8 need 2"));
}

}  // namespace
}  // namespace weft
