// SPDX-License-Identifier: Apache-2.0
//
// The worked examples of pcp_spec.md, section 3, array for array and rank for rank; errors; edges.
// Random batches are in pcp_partition_property_test.cc.
#include "core/pcp_partition.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Ints = std::vector<int64_t>;

constexpr RequestKind kD = RequestKind::kDecode;
constexpr RequestKind kP = RequestKind::kPrefill;

// The rows of one rank, as the spec prints them.
struct RankRows {
  Ints source;
  Ints position;
  Ints request;
  std::string padding;  // "FFT..."
};

struct Example {
  Ints new_tokens;
  Ints computed_tokens;
  int64_t threshold;
  int64_t world_size;

  Ints local_num_scheduled;
  std::vector<RankRows> ranks;
  Ints restore_index;
  std::string unpad_mask;
  Ints slots_in;
  Ints slots_out;
};

Ints Range(int64_t first, int64_t last) {
  Ints values(last - first + 1);
  std::iota(values.begin(), values.end(), first);
  return values;
}

Ints Join(const std::vector<Ints>& parts) {
  Ints all;
  for (const Ints& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

RankRows ToRankRows(const std::vector<PcpRow>& rows) {
  RankRows result;
  for (const PcpRow& row : rows) {
    result.source.push_back(row.source);
    result.position.push_back(row.position);
    result.request.push_back(row.request);
    result.padding += row.is_padding ? 'T' : 'F';
  }
  return result;
}

// What follows from the arrays that an example lists.
void ExpectDerived(const PcpPartition& partition, const Example& want) {
  Ints compact;
  Ints gathered_slots(partition.padded_total(), -1);
  for (size_t i = 0; i < want.unpad_mask.size(); ++i) {
    if (want.unpad_mask[i] == 'T') compact.push_back(want.restore_index[i]);
    gathered_slots[want.restore_index[i]] = want.slots_out[i];
  }
  EXPECT_EQ(partition.CompactRestoreIndex(), compact);
  EXPECT_EQ(*partition.GatheredSlots(want.slots_in), gathered_slots);
  Ints pad_index;
  int64_t next = 0;
  for (char c : want.unpad_mask) pad_index.push_back(c == 'T' ? next++ : -1);
  EXPECT_EQ(partition.PadIndex(), pad_index);

  for (int64_t rank = 0; rank < want.world_size; ++rank) {
    // Real rows are exactly those of the segments, position by position.
    const RankRows& rows = want.ranks[rank];
    std::string covered(rows.padding.size(), 'T');
    for (const Segment& segment : partition.Segments(rank)) {
      ASSERT_GE(segment.num_rows, 1);
      for (int64_t k = 0; k < segment.num_rows; ++k) {
        const int64_t row = segment.first_row + k;
        EXPECT_EQ(covered[row], 'T') << "row " << row << " is in two segments";
        covered[row] = 'F';
        EXPECT_EQ(rows.position[row], segment.first_position + k);
        EXPECT_EQ(rows.request[row], segment.request);
      }
    }
    EXPECT_EQ(covered, rows.padding) << "rank " << rank;
  }
}

void ExpectExample(const Example& want) {
  auto built = PcpPartition::BuildFromArrays(want.new_tokens, want.computed_tokens, want.threshold,
                                             want.world_size);
  ASSERT_TRUE(built.ok()) << built.status();
  const PcpPartition& partition = *built;
  const int64_t local_total =
      std::accumulate(want.local_num_scheduled.begin(), want.local_num_scheduled.end(), int64_t{0});
  EXPECT_EQ(partition.world_size(), want.world_size);
  EXPECT_EQ(partition.num_requests(), static_cast<int64_t>(want.new_tokens.size()));
  EXPECT_EQ(partition.num_tokens(), static_cast<int64_t>(want.slots_in.size()));
  EXPECT_EQ(partition.local_total(), local_total);
  EXPECT_EQ(partition.padded_total(), local_total * want.world_size);
  EXPECT_EQ(partition.LocalNumScheduled(), want.local_num_scheduled);
  ASSERT_EQ(want.ranks.size(), static_cast<size_t>(want.world_size));
  for (int64_t rank = 0; rank < want.world_size; ++rank) {
    SCOPED_TRACE(testing::Message() << "rank " << rank);
    const RankRows rows = ToRankRows(partition.Rows(rank));
    EXPECT_EQ(rows.source, want.ranks[rank].source);
    EXPECT_EQ(rows.position, want.ranks[rank].position);
    EXPECT_EQ(rows.request, want.ranks[rank].request);
    EXPECT_EQ(rows.padding, want.ranks[rank].padding);
  }
  EXPECT_EQ(partition.RestoreIndex(), want.restore_index);
  std::string mask;
  for (bool real : partition.UnpadMask()) mask += real ? 'T' : 'F';
  EXPECT_EQ(mask, want.unpad_mask);
  EXPECT_EQ(*partition.PadSlots(want.slots_in), want.slots_out);
  ExpectDerived(partition, want);
}

TEST(PcpPartitionExampleTest, E1DecodeOddPrefillExactPrefill) {
  const Ints request = {0, 1, 1, 1, 1, 2, 2, 2, 2};
  ExpectExample({
      {1, 5, 8},
      {10, 0, 0},
      /*threshold=*/1,
      /*world_size=*/2,
      {1, 4, 4},
      {{{0, 1, 2, 1, 1, 6, 7, 12, 13}, {10, 0, 1, 0, 0, 0, 1, 6, 7}, request, "FFFTTFFFF"},
       {{0, 3, 4, 5, 1, 8, 9, 10, 11}, {10, 2, 3, 4, 0, 2, 3, 4, 5}, request, "FFFFTFFFF"}},
      {0, 9, 1, 2, 10, 11, 12, 13, 3, 4, 5, 6, 14, 15, 16, 17, 7, 8},
      "TFTTTTTFFFTTTTTTTT",
      {22, 40, 41, 42, 43, 44, 80, 81, 82, 83, 84, 85, 86, 87},
      {22, -1, 40, 41, 42, 43, 44, -1, -1, -1, 80, 81, 82, 83, 84, 85, 86, 87},
  });
}

TEST(PcpPartitionExampleTest, E2ContinuationShortPromptOddPrompt) {
  const Ints request = {0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3};
  ExpectExample({
      {1, 13, 3, 9},
      {7, 16, 0, 0},
      /*threshold=*/1,
      /*world_size=*/4,
      {1, 4, 2, 4},
      {{{0, 1, 2, 1, 1, 14, 14, 17, 18, 17, 17},
        {7, 16, 17, 16, 16, 0, 0, 0, 1, 0, 0},
        request,
        "FFFTTFTFFTT"},
       {{0, 3, 4, 13, 1, 15, 14, 19, 20, 17, 17},
        {7, 18, 19, 28, 16, 1, 0, 2, 3, 0, 0},
        request,
        "FFFFTFTFFTT"},
       {{0, 5, 6, 11, 12, 16, 14, 21, 22, 17, 17},
        {7, 20, 21, 26, 27, 2, 0, 4, 5, 0, 0},
        request,
        "FFFFFFTFFTT"},
       {{0, 7, 8, 9, 10, 14, 14, 23, 24, 25, 17},
        {7, 22, 23, 24, 25, 0, 0, 6, 7, 8, 0},
        request,
        "FFFFFTTFFFT"}},
      {0,  11, 22, 33, 1,  2, 12, 13, 23, 24, 34, 35, 36, 37, 25, 26, 14, 15, 3,  4,  5, 16,
       27, 38, 39, 28, 17, 6, 7,  8,  18, 19, 29, 30, 40, 41, 42, 43, 31, 32, 20, 21, 9, 10},
      "TFFF"
      "TTTTTTTTTTTTTFFF"
      "TTTFFFFF"
      "TTTTTTTTTFFFFFFF",
      Join({{23}, Range(56, 68), {96, 97, 98}, Range(112, 120)}),
      Join({{23, -1, -1, -1},
            Range(56, 68),
            {-1, -1, -1},
            {96, 97, 98, -1, -1, -1, -1, -1},
            Range(112, 120),
            {-1, -1, -1, -1, -1, -1, -1}}),
  });
}

TEST(PcpPartitionExampleTest, E3TwoDecodesExtendFreshToken) {
  const Ints request = {0, 0, 1, 2, 2, 2, 2, 3, 3};
  ExpectExample({
      {2, 1, 7, 1},
      {5, 9, 4, 0},
      /*threshold=*/2,
      /*world_size=*/2,
      {2, 1, 4, 2},
      {{{0, 1, 2, 3, 4, 9, 3, 10, 10}, {5, 6, 9, 4, 5, 10, 4, 0, 0}, request, "FFFFFFTFT"},
       {{0, 1, 2, 5, 6, 7, 8, 10, 10}, {5, 6, 9, 6, 7, 8, 9, 0, 0}, request, "FFFFFFFTT"}},
      {0, 1, 9, 10, 2, 11, 3, 4, 12, 13, 14, 15, 5, 6, 7, 16, 17, 8},
      "TTFFTFTTTTTTTFTFFF",
      {9, 10, 21, 28, 29, 30, 31, 32, 33, 34, 36},
      {9, 10, -1, -1, 21, -1, 28, 29, 30, 31, 32, 33, 34, -1, 36, -1, -1, -1},
  });
}

TEST(PcpPartitionExampleTest, E4FewerTokensThanChunks) {
  ExpectExample({
      {2},
      {0},
      /*threshold=*/1,
      /*world_size=*/4,
      {2},
      {{{0, 0}, {0, 0}, {0, 0}, "FT"},
       {{1, 0}, {1, 0}, {0, 0}, "FT"},
       {{0, 0}, {0, 0}, {0, 0}, "TT"},
       {{0, 0}, {0, 0}, {0, 0}, "TT"}},
      {0, 2, 4, 6, 7, 5, 3, 1},
      "TTFFFFFF",
      {28, 29},
      {28, 29, -1, -1, -1, -1, -1, -1},
  });
}

TEST(PcpPartitionExampleTest, E5LoneTokenGrows) {
  ExpectExample({
      {1},
      {0},
      /*threshold=*/1,
      /*world_size=*/2,
      {2},
      {{{0, 0}, {0, 0}, {0, 0}, "FT"}, {{0, 0}, {0, 0}, {0, 0}, "TT"}},
      {0, 2, 3, 1},
      "TFFF",
      {28},
      {28, -1, -1, -1},
  });
}

TEST(PcpPartitionExampleTest, E6PureDecode) {
  ExpectExample({
      {1, 1, 1},
      {4, 5, 6},
      /*threshold=*/1,
      /*world_size=*/2,
      {1, 1, 1},
      {{{0, 1, 2}, {4, 5, 6}, {0, 1, 2}, "FFF"}, {{0, 1, 2}, {4, 5, 6}, {0, 1, 2}, "FFF"}},
      {0, 3, 1, 4, 2, 5},
      "TFTFTF",
      {4, 13, 22},
      {4, -1, 13, -1, 22, -1},
  });
}

// reliability.md, P2.
TEST(PcpPartitionExampleTest, CompactRestoreVectors) {
  auto e1 = PcpPartition::BuildFromArrays({1, 5, 8}, {10, 0, 0}, 1, 2);
  ASSERT_TRUE(e1.ok());
  EXPECT_THAT(e1->CompactRestoreIndex(),
              ElementsAre(0, 1, 2, 10, 11, 12, 5, 6, 14, 15, 16, 17, 7, 8));
  auto three = PcpPartition::BuildFromArrays({3}, {0}, 1, 4);
  ASSERT_TRUE(three.ok());
  EXPECT_THAT(three->CompactRestoreIndex(), ElementsAre(0, 2, 4));
  EXPECT_THAT(three->Segments(3), IsEmpty());
}

TEST(PcpPartitionTest, SegmentsOfHeadTailAndDecode) {
  auto e1 = PcpPartition::BuildFromArrays({1, 5, 8}, {10, 0, 0}, 1, 2);
  ASSERT_TRUE(e1.ok());
  EXPECT_THAT(e1->Segments(0), ElementsAre(Segment{0, 0, 1, 10}, Segment{1, 1, 2, 0},
                                           Segment{2, 5, 2, 0}, Segment{2, 7, 2, 6}));
  // Rank 1's chunks are adjacent tokens, and two segments all the same.
  EXPECT_THAT(e1->Segments(1),
              ElementsAre(Segment{0, 0, 1, 10}, Segment{1, 1, 2, 2}, Segment{1, 3, 1, 4},
                          Segment{2, 5, 2, 2}, Segment{2, 7, 2, 4}));
}

TEST(PcpPartitionTest, KeepsTheFormulasAtOneRank) {
  auto partition = PcpPartition::BuildFromArrays({1, 5, 4}, {3, 0, 8}, 1, 1);
  ASSERT_TRUE(partition.ok()) << partition.status();
  EXPECT_THAT(partition->LocalNumScheduled(), ElementsAre(1, 6, 4));
  EXPECT_EQ(partition->padded_total(), 11);
  EXPECT_THAT(partition->RestoreIndex(), ElementsAreArray(Range(0, 10)));
  const RankRows rows = ToRankRows(partition->Rows(0));
  EXPECT_THAT(rows.position, ElementsAre(3, 0, 1, 2, 3, 4, 0, 8, 9, 10, 11));
  EXPECT_EQ(rows.padding, "FFFFFFTFFFF");
}

TEST(PcpPartitionTest, NothingToDo) {
  for (int64_t world : {1, 2, 16}) {
    auto none = PcpPartition::Build({}, world);
    ASSERT_TRUE(none.ok()) << none.status();
    EXPECT_EQ(none->num_requests(), 0);
    EXPECT_EQ(none->padded_total(), 0);
    EXPECT_THAT(none->RestoreIndex(), IsEmpty());
    EXPECT_THAT(none->Rows(world - 1), IsEmpty());
    EXPECT_THAT(*none->PadSlots({}), IsEmpty());

    // Requests without new tokens, among others, in both kinds.
    const std::vector<RequestShape> shapes = {{kP, 0, 0}, {kD, 0, 9}, {kD, 1, 4}, {kP, 0, 7}};
    auto idle = PcpPartition::Build(shapes, world);
    ASSERT_TRUE(idle.ok()) << idle.status();
    EXPECT_THAT(idle->LocalNumScheduled(), ElementsAre(0, 0, 1, 0));
    EXPECT_THAT(idle->Rows(world - 1), ElementsAre(PcpRow{2, 4, 0, false}));
    EXPECT_THAT(idle->CompactRestoreIndex(), ElementsAre(0));
    EXPECT_THAT(idle->Segments(0), ElementsAre(Segment{2, 0, 1, 4}));
  }
}

TEST(PcpPartitionTest, KindIsAFieldAndOrderIsFree) {
  // The last token of a chunked prefill is split, not replicated, when the engine says so; and a
  // decode may stand behind it.
  const std::vector<RequestShape> shapes = {{kP, 1, 512}, {kD, 1, 30}};
  auto partition = PcpPartition::Build(shapes, 2);
  ASSERT_TRUE(partition.ok()) << partition.status();
  EXPECT_THAT(partition->LocalNumScheduled(), ElementsAre(2, 1));
  EXPECT_THAT(partition->Rows(1), ElementsAre(PcpRow{0, 512, 0, true}, PcpRow{0, 512, 0, true},
                                              PcpRow{1, 30, 1, false}));
}

TEST(PcpPartitionErrorTest, DecodesMustComeFirstInArrays) {
  absl::Status status = PcpPartition::BuildFromArrays({1, 5, 1}, {0, 0, 9}, 1, 2).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("request 2: a decode"), HasSubstr("request 0")));
  EXPECT_TRUE(PcpPartition::BuildFromArrays({1, 5, 2}, {3, 0, 9}, 1, 2).ok());
}

TEST(PcpPartitionErrorTest, NamesRequestValueAndBound) {
  const std::vector<RequestShape> fine = {{kD, 1, 1}};
  absl::Status status = PcpPartition::Build(fine, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("world size is 0"));

  const std::vector<RequestShape> negative_new = {{kD, 1, 1}, {kP, -3, 1}};
  status = PcpPartition::Build(negative_new, 2).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("request 1: num_new_tokens is -3"));

  const std::vector<RequestShape> negative_computed = {{kD, 1, 1}, {kP, 3, -2}};
  status = PcpPartition::Build(negative_computed, 2).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("request 1: num_computed_tokens is -2"));
}

TEST(PcpPartitionErrorTest, BeyondInt32) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMax32 = std::numeric_limits<int32_t>::max();
  const std::vector<std::vector<RequestShape>> batches = {
      {{kP, kMax, 0}},
      {{kP, 1, kMax}},
      {{kP, 1, kMax32}},
      {{kP, kMax32, 0}},  // 2^31 - 1 tokens are padded past int32
      {{kP, 1 << 30, 0}, {kP, 1 << 30, 0}},
      {{kD, 1 << 30, 1}},  // two copies
  };
  for (const auto& batch : batches) {
    absl::Status status = PcpPartition::Build(batch, 2).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
    EXPECT_THAT(status.message(), HasSubstr("request "));
  }
  EXPECT_EQ(PcpPartition::Build({}, kMax).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(PcpPartition::Build({{kP, 1 << 30, 1 << 29}}, 2).ok());
}

TEST(PcpPartitionErrorTest, SlotsOfAnotherLength) {
  auto partition = PcpPartition::BuildFromArrays({3}, {0}, 1, 2);
  ASSERT_TRUE(partition.ok());
  for (const Ints& slots : {Ints{1, 2}, Ints{1, 2, 3, 4}}) {
    absl::Status status = partition->PadSlots(slots).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr(std::to_string(slots.size())), HasSubstr("3 tokens")));
    EXPECT_EQ(partition->GatheredSlots(slots).status().code(), absl::StatusCode::kInvalidArgument);
  }
  // -1 of another sharding is kept (pcp_spec.md, 12).
  EXPECT_THAT(*partition->PadSlots({-1, 7, -1}), ElementsAre(-1, 7, -1, -1));
}

TEST(PcpPartitionCapacityTest, LimitIsExact) {
  // E5: one token needs four rows.
  EXPECT_TRUE(PcpPartition::BuildFromArrays({1}, {0}, 1, 2, PcpLimits{4}).ok());
  absl::Status status = PcpPartition::BuildFromArrays({1}, {0}, 1, 2, PcpLimits{3}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("needs 4"), HasSubstr("capacity is 3")));
}

TEST(PcpPartitionCapacityTest, SafeCapacityCoversTheWorstBatches) {
  // The seed's bound, max_tokens + 2 W max_requests, is too small here: 8 decodes of 4 tokens.
  constexpr int64_t kRequests = 8;
  const Ints n(kRequests, 4);
  const Ints m(kRequests, 1);
  auto decodes = PcpPartition::BuildFromArrays(n, m, 4, 4);
  ASSERT_TRUE(decodes.ok());
  EXPECT_EQ(decodes->padded_total(), 128);
  EXPECT_GT(decodes->padded_total(), kRequests * 4 + kRequests * 2 * 4);
  EXPECT_EQ(PcpPartition::SafeCapacity(4 * kRequests, kRequests, 4, 4), 128);

  // Fresh one-token prompts, each padded to 2W.
  auto prompts = PcpPartition::BuildFromArrays(Ints(kRequests, 1), Ints(kRequests, 0), 4, 2);
  ASSERT_TRUE(prompts.ok());
  EXPECT_EQ(prompts->padded_total(), 32);
  EXPECT_EQ(PcpPartition::SafeCapacity(kRequests, kRequests, 1, 2), 32);

  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(PcpPartition::SafeCapacity(kMax, 1, 1, 2), kMax);
  EXPECT_EQ(PcpPartition::SafeCapacity(1, kMax, 1, 2), kMax);
}

TEST(PcpPartitionTest, ShapesOfMetadata) {
  const std::vector<int32_t> blocks = {0, 1, 2, 3};
  RequestBatch batch;
  batch.requests = {{kP, 5, 0, {&blocks[0], 2}}, {kD, 1, 7, {&blocks[2], 2}}, {kP, 0, 4, blocks}};
  const AttentionMetadataBuilder builder(*KvCacheLayout::Nhd(DType::kF16, 4, 1, 32), 4);
  auto metadata = builder.Build(batch);
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  const std::vector<RequestShape> shapes = ShapesOf(*metadata);
  ASSERT_EQ(shapes.size(), 3u);
  for (size_t i = 0; i < shapes.size(); ++i) {
    EXPECT_EQ(shapes[i].kind, batch.requests[i].kind);
    EXPECT_EQ(shapes[i].num_new_tokens, batch.requests[i].num_new_tokens);
    EXPECT_EQ(shapes[i].num_computed_tokens, batch.requests[i].num_computed_tokens);
  }
}

TEST(PcpPartitionTest, FingerprintTellsStepsApart) {
  const std::vector<RequestShape> shapes = {{kD, 1, 9}, {kP, 6, 0}};
  const uint64_t fingerprint = PcpPartition::Build(shapes, 2)->fingerprint();
  EXPECT_EQ(PcpPartition::Build(shapes, 2)->fingerprint(), fingerprint);
  EXPECT_NE(PcpPartition::Build(shapes, 4)->fingerprint(), fingerprint);
  const std::vector<std::vector<RequestShape>> others = {{{kP, 1, 9}, {kP, 6, 0}},
                                                         {{kD, 1, 8}, {kP, 6, 0}},
                                                         {{kD, 1, 9}, {kP, 7, 0}},
                                                         {{kP, 6, 0}, {kD, 1, 9}},
                                                         {{kD, 1, 9}},
                                                         {{kD, 1, 9}, {kP, 6, 0}, {kP, 0, 0}}};
  for (const auto& other : others) {
    EXPECT_NE(PcpPartition::Build(other, 2)->fingerprint(), fingerprint);
  }
}

TEST(PcpPartitionTest, Picture) {
  auto partition = PcpPartition::BuildFromArrays({1, 5, 8}, {10, 0, 0}, 1, 2);
  ASSERT_TRUE(partition.ok());
  EXPECT_EQ(partition->ToString(),
            "PCP of 2 ranks: 14 tokens of 3 requests, 9 rows on each rank, 18 in all\n"
            "       | 0:decode | 1:prefill | 2:prefill\n"
            "rank 0 | 10       | 0-1 ..    | 0-1 6-7\n"
            "rank 1 | 10       | 2-3 4 .   | 2-3 4-5\n");
}

}  // namespace
}  // namespace weft
