// SPDX-License-Identifier: Apache-2.0
#include "core/plan.h"

#include <cstdint>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "core/attention_metadata.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {

// Found by argument-dependent look-up, so it cannot be in the unnamed namespace.
bool operator==(const PrefillTile& a, const PrefillTile& b) {
  return a.first_row == b.first_row && a.num_rows == b.num_rows &&
         a.first_position == b.first_position && a.first_block == b.first_block;
}

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PlanTest : public testing::Test {
 protected:
  struct Shape {
    RequestKind kind;
    int64_t new_tokens;
    int64_t computed;
  };

  static constexpr int64_t kBlockSize = 16;

  // Each request gets blocks of its own, counting up.
  AttentionMetadata Metadata(const std::vector<Shape>& shapes) {
    std::vector<std::vector<int32_t>> tables;
    int32_t next = 0;
    RequestBatch batch;
    for (const Shape& shape : shapes) {
      tables.emplace_back((shape.new_tokens + shape.computed + kBlockSize - 1) / kBlockSize);
      std::iota(tables.back().begin(), tables.back().end(), next);
      next += static_cast<int32_t>(tables.back().size());
    }
    for (size_t i = 0; i < shapes.size(); ++i) {
      Request request;
      request.kind = shapes[i].kind;
      request.num_new_tokens = shapes[i].new_tokens;
      request.num_computed_tokens = shapes[i].computed;
      request.block_ids = tables[i];
      batch.requests.push_back(request);
    }
    return *AttentionMetadataBuilder(layout_, 4096).Build(batch);
  }

  absl::StatusOr<Plan> Build(const AttentionMetadata& metadata,
                             const PcpPartition* partition = nullptr, int64_t rank = 0) {
    PlanConfig config;
    config.tile_tokens = 4;
    PlanOptions options;
    options.partition = partition;
    options.rank = rank;
    return Plan::Build(spec_, config, /*layer_fingerprint=*/77, metadata, options);
  }

  static AttentionSpec MakeSpec() {
    AttentionSpec spec;
    spec.num_heads = 4;
    spec.num_kv_heads = 2;
    spec.head_size = 32;
    return spec;
  }

  AttentionSpec spec_ = MakeSpec();
  KvCacheLayout layout_ = *KvCacheLayout::Nhd(DType::kF16, kBlockSize, 2, 32);
};

TEST_F(PlanTest, PrefillIsTiledLongestFirst) {
  const absl::StatusOr<Plan> plan =
      Build(Metadata({{RequestKind::kPrefill, 6, 0}, {RequestKind::kPrefill, 3, 20}}));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->num_rows(), 9);
  EXPECT_THAT(plan->tiles(), ElementsAre(PrefillTile{6, 3, 20, 1}, PrefillTile{4, 2, 4, 0},
                                         PrefillTile{0, 4, 0, 0}));
  EXPECT_THAT(plan->blocks(), ElementsAre(0, 1, 2));
  EXPECT_THAT(plan->decode_rows(), IsEmpty());
  EXPECT_EQ(plan->workspace_bytes(), 0);
  EXPECT_EQ(plan->causal_pairs(), (1 + 2 + 3 + 4 + 5 + 6) + (21 + 22 + 23));
  EXPECT_EQ(plan->layer_fingerprint(), 77);
  EXPECT_THAT(plan->Explain(), HasSubstr("9 rows (0 padding), 3 tiles"));
}

TEST_F(PlanTest, DecodeIsCutAtAbsoluteGranules) {
  // Positions 511, 512 and 1023 see 512, 513 and 1024 keys: 1, 2 and 2 granules.
  const absl::StatusOr<Plan> plan = Build(Metadata({{RequestKind::kDecode, 1, 511},
                                                    {RequestKind::kDecode, 1, 512},
                                                    {RequestKind::kDecode, 1, 1023}}));
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->decode_rows().size(), 3);
  EXPECT_EQ(plan->decode_rows()[1].row, 1);
  EXPECT_EQ(plan->decode_rows()[1].position, 512);
  EXPECT_EQ(plan->decode_rows()[1].first_block, 32);
  EXPECT_EQ(plan->decode_rows()[1].first_partial, 1);
  EXPECT_EQ(plan->decode_rows()[2].first_partial, 3);
  std::vector<std::pair<int, int>> splits;
  for (const DecodeSplit& split : plan->decode_splits())
    splits.emplace_back(split.decode_row, split.granule);
  EXPECT_THAT(splits, ElementsAre(std::pair(0, 0), std::pair(1, 0), std::pair(1, 1),
                                  std::pair(2, 0), std::pair(2, 1)));
  EXPECT_EQ(plan->num_partials(), 5);
  EXPECT_EQ(plan->workspace_bytes(), 5 * 4 * (32 + 2) * 4);
}

TEST_F(PlanTest, KindAndNotLengthChoosesTheKernel) {
  const absl::StatusOr<Plan> plan =
      Build(Metadata({{RequestKind::kPrefill, 1, 40}, {RequestKind::kDecode, 3, 40}}));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->tiles().size(), 1);
  EXPECT_EQ(plan->decode_rows().size(), 3);
}

TEST_F(PlanTest, EmptyStep) {
  const absl::StatusOr<Plan> plan = Build(Metadata({}));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->num_rows(), 0);
  EXPECT_THAT(plan->tiles(), IsEmpty());
}

// Over all ranks: every real row of a rank is named exactly once, padding rows are zeroed exactly
// once, and the slots of the gathered rows are the step's.
TEST_F(PlanTest, PcpCoversEveryRowOfEveryRank) {
  const std::vector<Shape> shapes = {{RequestKind::kDecode, 1, 10},
                                     {RequestKind::kPrefill, 5, 0},
                                     {RequestKind::kPrefill, 23, 7},
                                     {RequestKind::kPrefill, 1, 0}};
  const AttentionMetadata metadata = Metadata(shapes);
  for (const int64_t world : {1, 2, 3, 4}) {
    const absl::StatusOr<PcpPartition> partition = PcpPartition::Build(ShapesOf(metadata), world);
    ASSERT_TRUE(partition.ok());
    std::multiset<std::pair<int32_t, int32_t>>
        prefill_rows;  // (first block of the request, position)
    int64_t pairs = 0;
    for (int64_t rank = 0; rank < world; ++rank) {
      const absl::StatusOr<Plan> plan = Build(metadata, &*partition, rank);
      ASSERT_TRUE(plan.ok());
      EXPECT_EQ(plan->num_rows(), partition->local_total());
      std::map<int32_t, int> named;
      int64_t padding = 0;
      for (const PrefillTile& tile : plan->tiles()) {
        EXPECT_LE(tile.num_rows, 4);
        for (int32_t i = 0; i < tile.num_rows; ++i) {
          ++named[tile.first_row + i];
          if (tile.first_block < 0) {
            ++padding;
          } else {
            prefill_rows.emplace(tile.first_block, tile.first_position + i);
          }
        }
      }
      for (const DecodeRow& row : plan->decode_rows()) ++named[row.row];
      EXPECT_EQ(static_cast<int64_t>(named.size()), plan->num_rows());
      for (const auto& [row, times] : named) EXPECT_EQ(times, 1) << "row " << row;
      EXPECT_EQ(padding, plan->num_padding_rows());
      EXPECT_EQ(static_cast<int64_t>(plan->slots().size()), partition->padded_total());
      std::multiset<int64_t> slots(plan->slots().begin(), plan->slots().end());
      slots.erase(-1);
      EXPECT_EQ(slots, std::multiset<int64_t>(metadata.slot_mapping().begin(),
                                              metadata.slot_mapping().end()));
      pairs += plan->causal_pairs();
    }
    EXPECT_EQ(prefill_rows.size(), 5 + 23 + 1);
    EXPECT_EQ(std::set(prefill_rows.begin(), prefill_rows.end()).size(), 5 + 23 + 1);
    EXPECT_EQ(pairs, 15 + (23 * 7 + 23 * 24 / 2) + 1 + world * 11);
  }
}

TEST_F(PlanTest, RefusesWhatDoesNotFitTogether) {
  const AttentionMetadata metadata =
      Metadata({{RequestKind::kDecode, 1, 10}, {RequestKind::kPrefill, 5, 0}});
  EXPECT_EQ(Build(metadata, nullptr, 1).status().code(), absl::StatusCode::kInvalidArgument);
  const absl::StatusOr<PcpPartition> partition = PcpPartition::Build(ShapesOf(metadata), 2);
  EXPECT_THAT(Build(metadata, &*partition, 2).status().message(),
              HasSubstr("rank 2 of a group of 2"));
  EXPECT_THAT(Build(metadata, &*partition, -1).status().message(), HasSubstr("rank -1"));
  const AttentionMetadata other =
      Metadata({{RequestKind::kDecode, 1, 10}, {RequestKind::kPrefill, 6, 0}});
  const absl::Status status = Build(other, &*partition, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      status.message(),
      HasSubstr("request 1 has 6 new and 0 computed tokens (prefill), the partition was built "
                "for 5"));
  const AttentionMetadata one = Metadata({{RequestKind::kDecode, 1, 10}});
  EXPECT_EQ(Build(one, &*partition, 0).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PlanTest, FingerprintSeesRankAndPages) {
  const AttentionMetadata metadata = Metadata({{RequestKind::kPrefill, 8, 0}});
  const absl::StatusOr<PcpPartition> partition = PcpPartition::Build(ShapesOf(metadata), 2);
  const uint64_t rank0 = Build(metadata, &*partition, 0)->fingerprint();
  EXPECT_EQ(Build(metadata, &*partition, 0)->fingerprint(), rank0);
  EXPECT_NE(Build(metadata, &*partition, 1)->fingerprint(), rank0);
}

TEST(WorkspaceBytesTest, Overflow) {
  EXPECT_EQ(*WorkspaceBytes(3, 8, 64), 3 * 8 * 66 * 4);
  EXPECT_EQ(WorkspaceBytes(int64_t{1} << 40, 1 << 20, 256).status().code(),
            absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace weft
