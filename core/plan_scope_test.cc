// SPDX-License-Identifier: Apache-2.0
//
// Plans over a part of the keys or rows: windows, contexts, new tokens, DCP shards. All numbers by
// hand. Tiles hold 4 tokens, blocks 16.
#include <cstdint>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "core/attention_metadata.h"
#include "core/plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// first_row, num_rows, first_position, first_block, num_keys, first_key, request.
using Tile = std::tuple<int, int, int, int, int, int, int>;
// row, position, first_block, first_partial, num_keys, first_granule, num_granules, request.
using Row = std::tuple<int, int, int, int, int, int, int, int>;

std::vector<Tile> Tiles(const Plan& plan) {
  std::vector<Tile> tiles;
  for (const PrefillTile& t : plan.tiles()) {
    tiles.emplace_back(t.first_row, t.num_rows, t.first_position, t.first_block, t.num_keys,
                       t.first_key, t.request);
  }
  return tiles;
}

std::vector<Row> Rows(const Plan& plan) {
  std::vector<Row> rows;
  for (const DecodeRow& r : plan.decode_rows()) {
    rows.emplace_back(r.row, r.position, r.first_block, r.first_partial, r.num_keys,
                      r.first_granule, r.num_granules, r.request);
  }
  return rows;
}

class PlanScopeTest : public testing::Test {
 protected:
  struct Shape {
    RequestKind kind;
    int64_t new_tokens;
    int64_t computed;
  };
  static constexpr RequestKind kPrefill = RequestKind::kPrefill;
  static constexpr RequestKind kDecode = RequestKind::kDecode;

  PlanScopeTest() {
    spec_.num_heads = 4;
    spec_.num_kv_heads = 2;
    spec_.head_size = 32;
  }

  // Each request gets blocks of its own, counting up.
  AttentionMetadata Metadata(const std::vector<Shape>& shapes,
                             const MetadataOptions& options = {}) {
    std::vector<std::vector<int32_t>> tables;
    int32_t next = 0;
    RequestBatch batch;
    for (const Shape& shape : shapes) {
      const int64_t tokens = 16 * options.dcp.world;
      tables.emplace_back((shape.new_tokens + shape.computed + tokens - 1) / tokens);
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
    auto metadata = AttentionMetadataBuilder(layout_, 4096).Build(batch, options);
    EXPECT_TRUE(metadata.ok()) << metadata.status();
    return *metadata;
  }

  absl::StatusOr<Plan> Build(const AttentionMetadata& metadata, const PlanOptions& options = {}) {
    PlanConfig config;
    config.tile_tokens = 4;
    return Plan::Build(spec_, config, /*layer_fingerprint=*/77, metadata, options);
  }

  PlanOptions Keys(KeyScope keys) {
    PlanOptions options;
    options.keys = keys;
    return options;
  }

  AttentionSpec spec_;
  KvCacheLayout layout_ = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 32);
  // A continued prefill, a fresh one, a decode: blocks 0 and 1, 2, 3 to 5.
  const std::vector<Shape> mixed_ = {{kPrefill, 3, 20}, {kPrefill, 2, 0}, {kDecode, 1, 33}};
};

TEST_F(PlanScopeTest, WindowOfAPrefill) {
  spec_.window = 6;
  const absl::StatusOr<Plan> plan = Build(Metadata({{kPrefill, 10, 0}}));
  ASSERT_TRUE(plan.ok()) << plan.status();
  // Longest first: keys 0..7, 3..9, 0..3. Row 4 sees from 0 on, row 8 from 3 on.
  EXPECT_THAT(Tiles(*plan), ElementsAre(Tile(4, 4, 4, 0, 10, 0, 0), Tile(8, 2, 8, 0, 10, 3, 0),
                                        Tile(0, 4, 0, 0, 10, 0, 0)));
  EXPECT_EQ(plan->causal_pairs(), 1 + 2 + 3 + 4 + 5 + 6 * 5);
  EXPECT_FALSE(plan->partial());
}

TEST_F(PlanScopeTest, WindowOfDecodesReachesSomeGranules) {
  spec_.window = 300;
  // Row 0 sees keys 901..1200, row 1 724..1023, row 2 213..512, row 3 0..9.
  const absl::StatusOr<Plan> plan =
      Build(Metadata({{kDecode, 1, 1200}, {kDecode, 1, 1023}, {kDecode, 1, 512}, {kDecode, 1, 9}}));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Rows(*plan),
              ElementsAre(Row(0, 1200, 0, 0, 1201, 1, 2, 0), Row(1, 1023, 76, 2, 1024, 1, 1, 1),
                          Row(2, 512, 140, 3, 513, 0, 2, 2), Row(3, 9, 173, 5, 10, 0, 1, 3)));
  std::vector<std::pair<int, int>> splits;
  for (const DecodeSplit& split : plan->decode_splits())
    splits.emplace_back(split.decode_row, split.granule);
  EXPECT_THAT(splits, ElementsAre(std::pair(0, 1), std::pair(0, 2), std::pair(1, 1),
                                  std::pair(2, 0), std::pair(2, 1), std::pair(3, 0)));
  EXPECT_EQ(plan->num_partials(), 6);
  EXPECT_EQ(plan->causal_pairs(), 300 * 3 + 10);
}

TEST_F(PlanScopeTest, ContextOnly) {
  const absl::StatusOr<Plan> plan = Build(Metadata(mixed_), Keys(KeyScope::kContext));
  ASSERT_TRUE(plan.ok()) << plan.status();
  // The fresh prefill has no context: rows 3 and 4 are written as states that saw nothing.
  EXPECT_THAT(Tiles(*plan), ElementsAre(Tile(0, 3, 20, 0, 20, 0, 0), Tile(3, 2, 0, -1, 0, 0, 1)));
  EXPECT_THAT(Rows(*plan), ElementsAre(Row(5, 33, 2, 0, 33, 0, 1, 2)));
  EXPECT_THAT(plan->blocks(), ElementsAre(0, 1, 3, 4, 5));
  EXPECT_EQ(plan->causal_pairs(), 3 * 20 + 33);
  EXPECT_TRUE(plan->partial());
  EXPECT_EQ(plan->key_scope(), KeyScope::kContext);
  EXPECT_EQ(plan->num_padding_rows(), 0);
}

TEST_F(PlanScopeTest, ContextBehindAWindow) {
  spec_.window = 5;
  // Row 0 at position 20 sees context 16..19, row 1 17..19, row 2 18..19; row 3 19, row 4 nothing.
  const absl::StatusOr<Plan> plan = Build(Metadata({{kPrefill, 5, 20}}), Keys(KeyScope::kContext));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Tiles(*plan), ElementsAre(Tile(0, 4, 20, 0, 20, 16, 0), Tile(4, 1, 0, -1, 0, 0, 0)));
  EXPECT_EQ(plan->causal_pairs(), 4 + 3 + 2 + 1);
}

TEST_F(PlanScopeTest, NewTokensOnly) {
  const absl::StatusOr<Plan> plan = Build(Metadata(mixed_), Keys(KeyScope::kNew));
  ASSERT_TRUE(plan.ok()) << plan.status();
  // Keys and positions count from the chunk's start; a block is a row of the step.
  EXPECT_THAT(Tiles(*plan), ElementsAre(Tile(0, 3, 0, 0, 3, 0, 0), Tile(3, 2, 0, 3, 2, 0, 1)));
  EXPECT_THAT(Rows(*plan), ElementsAre(Row(5, 0, 5, 0, 1, 0, 1, 2)));
  EXPECT_THAT(plan->blocks(), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(plan->num_blocks(), 6);
  EXPECT_THAT(plan->slots(), IsEmpty());
  EXPECT_EQ(plan->causal_pairs(), (1 + 2 + 3) + (1 + 2) + 1);
  EXPECT_TRUE(plan->partial());
}

// The step of docs/pcp_spec.md E1: the rows of the gathered tensors that hold tokens 0 .. 13.
TEST_F(PlanScopeTest, NewTokensOfAllPcpRanks) {
  const AttentionMetadata metadata =
      Metadata({{kDecode, 1, 10}, {kPrefill, 5, 0}, {kPrefill, 8, 0}});
  const absl::StatusOr<PcpPartition> partition = PcpPartition::Build(ShapesOf(metadata), 2);
  ASSERT_TRUE(partition.ok());
  PlanOptions options = Keys(KeyScope::kNew);
  options.partition = &*partition;
  const absl::StatusOr<Plan> plan = Build(metadata, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->blocks(), ElementsAre(0, 1, 2, 10, 11, 12, 5, 6, 14, 15, 16, 17, 7, 8));
  EXPECT_EQ(plan->num_blocks(), 18);
  EXPECT_EQ(plan->num_rows(), 9);
  EXPECT_THAT(plan->slots(), IsEmpty());
  EXPECT_THAT(Tiles(*plan),
              UnorderedElementsAre(Tile(7, 2, 6, 6, 8, 0, 2), Tile(1, 2, 0, 1, 5, 0, 1),
                                   Tile(5, 2, 0, 6, 8, 0, 2), Tile(3, 2, 0, -1, 0, 0, -1)));
  EXPECT_THAT(Rows(*plan), ElementsAre(Row(0, 0, 0, 0, 1, 0, 1, 0)));
  EXPECT_EQ(plan->num_padding_rows(), 2);
}

TEST_F(PlanScopeTest, RowsOfOneKind) {
  const AttentionMetadata metadata = Metadata(mixed_);
  PlanOptions options;
  options.rows = RowScope::kDecodes;
  absl::StatusOr<Plan> plan = Build(metadata, options);
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(plan->tiles(), IsEmpty());
  EXPECT_THAT(Rows(*plan), ElementsAre(Row(5, 33, 3, 0, 34, 0, 1, 2)));
  EXPECT_EQ(plan->causal_pairs(), 34);
  EXPECT_FALSE(plan->partial());
  options.rows = RowScope::kPrefills;
  plan = Build(metadata, options);
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(Tiles(*plan), ElementsAre(Tile(0, 3, 20, 0, 23, 0, 0), Tile(3, 2, 0, 2, 2, 0, 1)));
  EXPECT_THAT(plan->decode_rows(), IsEmpty());
  EXPECT_EQ(plan->workspace_bytes(), 0);
}

// Of three queries behind six tokens, dealt in fours to two ranks (docs/pcp_spec.md, 11).
TEST_F(PlanScopeTest, DcpDecodeHasLengthsOfItsOwnForEachQuery) {
  MetadataOptions options;
  options.dcp.world = 2;
  options.dcp.interleave = 4;
  const std::vector<Shape> shapes = {{kDecode, 3, 6}, {kDecode, 1, 0}};
  absl::StatusOr<Plan> plan = Build(Metadata(shapes, options));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->partial());
  EXPECT_THAT(Rows(*plan), ElementsAre(Row(0, 6, 0, 0, 4, 0, 1, 0), Row(1, 7, 0, 1, 4, 0, 1, 0),
                                       Row(2, 8, 0, 2, 5, 0, 1, 0), Row(3, 0, 1, 3, 1, 0, 1, 1)));
  EXPECT_THAT(plan->slots(), ElementsAre(-1, -1, 4, 16));
  options.dcp.rank = 1;
  plan = Build(Metadata(shapes, options));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Rows(*plan), ElementsAre(Row(0, 6, 0, 0, 3, 0, 1, 0), Row(1, 7, 0, 1, 4, 0, 1, 0),
                                       Row(2, 8, 0, 2, 4, 0, 1, 0)));
  // The lone first token lies on rank 0: here it sees nothing, and still its row is written.
  EXPECT_THAT(Tiles(*plan), ElementsAre(Tile(3, 1, 0, -1, 0, 0, 1)));
  EXPECT_THAT(plan->slots(), ElementsAre(2, 3, -1, -1));
}

TEST_F(PlanScopeTest, DcpPrefillTakesATileForEachRowAndItsContextIsShared) {
  MetadataOptions options;
  options.dcp.world = 2;
  options.dcp.rank = 1;
  const AttentionMetadata metadata = Metadata({{kPrefill, 3, 5}}, options);
  absl::StatusOr<Plan> plan = Build(metadata);
  ASSERT_TRUE(plan.ok()) << plan.status();
  // Rows at positions 5, 6 and 7 see 3, 3 and 4 of rank 1's tokens 1, 3, 5, 7.
  EXPECT_THAT(Tiles(*plan),
              UnorderedElementsAre(Tile(0, 1, 5, 0, 3, 0, 0), Tile(1, 1, 6, 0, 3, 0, 0),
                                   Tile(2, 1, 7, 0, 4, 0, 0)));
  EXPECT_EQ(plan->causal_pairs(), 3 + 3 + 4);
  plan = Build(metadata, Keys(KeyScope::kContext));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Tiles(*plan), ElementsAre(Tile(0, 3, 5, 0, 2, 0, 0)));
  plan = Build(metadata, Keys(KeyScope::kNew));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Tiles(*plan), ElementsAre(Tile(0, 3, 0, 0, 3, 0, 0)));
}

TEST_F(PlanScopeTest, RefusesWindowsAndAlibiUnderDcp) {
  MetadataOptions options;
  options.dcp.world = 2;
  const AttentionMetadata metadata = Metadata({{kDecode, 1, 5}}, options);
  spec_.window = 4;
  absl::Status status = Build(metadata).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(status.message(), HasSubstr("a window of 4 under decode context parallelism of 2"));
  spec_.window = 0;
  spec_.alibi_slopes = {1, 1, 1, 1};
  EXPECT_THAT(Build(metadata).status().message(), HasSubstr("ALiBi under decode"));
}

TEST_F(PlanScopeTest, MetadataForWindowsFitsNoWiderLayer) {
  MetadataOptions options;
  options.window = 8;
  const AttentionMetadata metadata = Metadata({{kDecode, 1, 100}}, options);
  EXPECT_THAT(Build(metadata).status().message(),
              HasSubstr("windows of at most 8 tokens, the layer has none"));
  spec_.window = 9;
  const absl::Status status = Build(metadata).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("at most 8 tokens, the layer has 9"));
  spec_.window = 8;
  EXPECT_TRUE(Build(metadata).ok());
}

TEST_F(PlanScopeTest, CascadeIsRefusedByName) {
  MetadataOptions options;
  options.common_prefix_len = 4;
  const absl::Status status = Build(Metadata({{kDecode, 1, 5}}, options)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(status.message(), HasSubstr("cascade attention over a common prefix of 4"));
}

// Metadata for windows: what lies before every window has been freed, and is not looked at.
TEST_F(PlanScopeTest, FreedBlocksBeforeTheWindow) {
  const std::vector<int32_t> table = {-1, 0x7fffffff, 3, 4};
  Request request;
  request.kind = kDecode;
  request.num_new_tokens = 1;
  request.num_computed_tokens = 50;
  request.block_ids = table;
  RequestBatch batch;
  batch.requests = {request};
  const AttentionMetadataBuilder builder(layout_, 10);
  EXPECT_THAT(builder.Build(batch).status().message(),
              HasSubstr("request 0, block table column 0: block id -1"));
  MetadataOptions options;
  options.window = 20;  // position 50 sees 31..50: column 1 is still read
  EXPECT_THAT(builder.Build(batch, options).status().message(),
              HasSubstr("block table column 1: block id 2147483647"));
  options.window = 19;  // 32..50
  const auto metadata = builder.Build(batch, options);
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  // Kernels may load a block that they do not use: the freed entries are made to exist.
  EXPECT_THAT(metadata->blocks(0), ElementsAre(3, 3, 3, 4));
  EXPECT_EQ(metadata->window(), 19);
}

}  // namespace
}  // namespace weft
