// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/arguments.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "core/address_map.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/prepared_attention.h"
#include "core/tensor_view.h"
#include "cuda/kernels/attention/config.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

constexpr DeviceId kDevice = {BackendKind::kCuda, 0};

class FakePrepared final : public PreparedAttention {
 public:
  FakePrepared(const AttentionSpec& spec, const KvCacheLayout& layout, const AddressMap* map)
      : PreparedAttention(spec, layout, kDevice, PlanConfig{32}, map) {}
  std::string Explain() const override { return ""; }
};

AttentionSpec Spec() {
  AttentionSpec spec;
  spec.num_heads = 8;
  spec.num_kv_heads = 2;
  spec.head_size = 64;
  return spec;
}

TensorView View(uint64_t address, DType dtype, std::vector<int64_t> extents,
                std::vector<int64_t> strides = {}) {
  return strides.empty() ? *TensorView::Contiguous(address, dtype, extents, kDevice)
                         : *TensorView::Create(address, dtype, extents, strides, kDevice);
}

// Arguments of 4 rows over a cache of `segments` segments of 10 blocks.
struct Call {
  explicit Call(const AttentionSpec& spec, const KvCacheLayout& layout, int64_t segments = 1)
      : prepared(spec, layout, &map) {
    std::vector<KvSegment> list;
    for (int64_t s = 0; s < segments; ++s) {
      list.push_back({uint64_t{0x100000} * (s + 1), uint64_t{0x100000} * (s + 1) + 0x8000, 10});
    }
    args.prepared = &prepared;
    args.cache = *KvCacheView::Create(layout, kDevice, list);
    args.query = View(0x1000, spec.query_dtype(), {4, spec.num_heads, spec.head_size});
    args.out = View(0x9000, spec.output_dtype(), {4, spec.num_heads, spec.head_size});
    args.num_rows = 4;
    args.tables.tiles = View(0x20000, DType::kI32, {3, kTileInts});
    args.tables.decode_rows = View(0x21000, DType::kI32, {2, kDecodeRowInts});
    args.tables.decode_splits = View(0x22000, DType::kI32, {5, kDecodeSplitInts});
    args.tables.blocks = View(0x23000, DType::kI32, {7});
    args.tables.workspace = View(0x40000, DType::kF32, {5 * 8 * 66});
    args.tables.num_partials = 5;
  }

  AddressMap map;
  FakePrepared prepared;
  AttentionArgs args;
};

TEST(MapAttentionTest, FillsWhatKernelsRead) {
  AttentionSpec spec = Spec();
  spec.window = 100;
  spec.softcap = 4.0f;
  const KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64);
  Call call(spec, layout, 2);
  const auto work = MapAttention(call.args);
  ASSERT_TRUE(work.ok()) << work.status();
  const AttentionParams& p = work->params;
  EXPECT_EQ(work->tiles, 3);
  EXPECT_EQ(work->splits, 5);
  EXPECT_FALSE(work->padded);
  EXPECT_EQ(work->decode_rows, 2);
  EXPECT_EQ(work->tile_rows, 32 * 4);
  EXPECT_EQ(p.query.row_stride, 8 * 64 * 2);
  EXPECT_EQ(p.query.head_stride, 64 * 2);
  EXPECT_EQ(p.lse.address, 0u);
  EXPECT_EQ(p.key.token_stride, 2 * 64 * 2);
  EXPECT_EQ(p.key.run, 64u);
  EXPECT_EQ(p.key.in_pieces, 1u);
  EXPECT_EQ(p.query_in_pieces, 1u);
  EXPECT_EQ(p.out_in_pieces, 1u);
  EXPECT_EQ(p.num_segments, 2u);
  EXPECT_EQ(p.blocks_per_segment, 10u);
  EXPECT_EQ(p.segments[1].value, 0x208000u);
  EXPECT_EQ(p.window, 100);
  EXPECT_FLOAT_EQ(p.inverse_softcap, 0.25f);
  EXPECT_EQ(p.partial_sums, 0x40000u);
  EXPECT_EQ(p.partial_stats, 0x40000u + 5 * 8 * 64 * 4);
  call.args.tables.padded = true;
  EXPECT_TRUE(MapAttention(call.args)->padded);
}

TEST(MapAttentionTest, WithoutAWindowEverythingIsSeen) {
  const KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64);
  AttentionSpec spec = Spec();
  spec.window = -1;
  EXPECT_EQ(MapAttention(Call(spec, layout).args)->params.window,
            std::numeric_limits<int32_t>::max());
  spec.window = int64_t{1} << 40;
  EXPECT_EQ(MapAttention(Call(spec, layout).args)->params.window,
            std::numeric_limits<int32_t>::max());
}

TEST(MapAttentionTest, RowsThatDoNotLieInPiecesAreSaidSo) {
  AttentionSpec spec = Spec();
  // A head of 66 bytes.
  spec.head_size = 33;
  const KvCacheLayout odd = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 33);
  auto work = MapAttention(Call(spec, odd).args);
  EXPECT_EQ(work->params.key.in_pieces, 0u);
  EXPECT_EQ(work->params.query_in_pieces, 0u);
  EXPECT_EQ(work->params.out_in_pieces, 0u);
  // Values whose dimensions are a block apart.
  const KvCacheLayout split = *KvCacheLayout::SplitX(DType::kF16, 16, 2, 64, 8);
  work = MapAttention(Call(Spec(), split).args);
  EXPECT_EQ(work->params.key.in_pieces, 1u);
  EXPECT_EQ(work->params.key.run, 8u);
  EXPECT_EQ(work->params.key.run_stride, 16 * 8 * 2);
  EXPECT_EQ(work->params.value.in_pieces, 0u);
  EXPECT_EQ(work->params.value.run, 1u);
}

TEST(MapAttentionTest, AnOutputInWordsNeedNotLieInPieces) {
  Call call(Spec(), *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64));
  const TensorView& out = call.args.out;
  call.args.out = View(out.address() + 4, DType::kF16, {out.extent(0), 8, 64});
  const auto work = MapAttention(call.args);
  EXPECT_EQ(work->params.out_in_pieces, 0u);
  EXPECT_EQ(work->params.out_in_words, 1u);
}

TEST(MapAttentionTest, TheStrideOfAnAxisOfOneSaysNothing) {
  const KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64);
  Call call(Spec(), layout);
  call.args.query = View(0x1000, DType::kF16, {1, 8, 64}, {7, 64, 1});
  call.args.num_rows = 1;
  const auto work = MapAttention(call.args);
  EXPECT_EQ(work->params.query.row_stride, 0);
  EXPECT_EQ(work->params.query_in_pieces, 1u);
}

TEST(MapAttentionTest, SinksAreLeftToTheMergeWhereItIsToApplyThem) {
  AttentionSpec spec = Spec();
  spec.sinks.assign(8, 1.0f);
  Call call(spec, *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64));
  call.args.head_values.sinks = View(0x30000, DType::kF32, {8});
  EXPECT_EQ(MapAttention(call.args)->params.sinks, 0x30000u);
  call.args.apply_sinks = false;
  EXPECT_EQ(MapAttention(call.args)->params.sinks, 0u);
}

TEST(MapAttentionTest, RefusesMoreSegmentsThanABlockOfArgumentsHolds) {
  const KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64);
  EXPECT_TRUE(MapAttention(Call(Spec(), layout, kMaxAttentionSegments).args).ok());
  const auto work = MapAttention(Call(Spec(), layout, kMaxAttentionSegments + 1).args);
  EXPECT_EQ(work.status().code(), absl::StatusCode::kResourceExhausted) << work.status();
}

TEST(SupportsAttentionTest, NamesWhatNoKernelDoes) {
  AttentionSpec spec = Spec();
  EXPECT_TRUE(SupportsAttention(spec, *KvCacheLayout::Nhd(DType::kF16, 16, 2, 64)).ok());
  for (const int64_t size : {kMinHeadSize - 1, kMaxHeadSize + 1}) {
    spec.head_size = size;
    const absl::Status status =
        SupportsAttention(spec, *KvCacheLayout::Nhd(DType::kF16, 16, 2, size));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
  }
}

TEST(TileTokensTest, FillATileWhateverTheGroup) {
  EXPECT_EQ(TileTokens(1, 128), 128);
  EXPECT_EQ(TileTokens(7, 128), 18);
  EXPECT_EQ(TileTokens(200, 128), 1);
}

}  // namespace
}  // namespace weft::cuda
