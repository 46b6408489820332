// SPDX-License-Identifier: Apache-2.0
//
// The weights that host and device share, run on the CPU, and what the kernels are given.
#include "cuda/kernels/states/arguments.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/host_device.h"
#include "cuda/kernels/row_groups.h"
#include "cuda/kernels/states/params.h"
#include "cuda/kernels/states/weights.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

constexpr DeviceId kDevice = {BackendKind::kCuda, 0};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(MergeWeights, AreThoseOfTheSoftmax) {
  const float lses[] = {0.0f, 1.5f, -3.0f, 40.0f, -1000.0f};
  for (float a : lses) {
    for (float b : lses) {
      for (float sink : {-kInfinity, 0.7f, 50.0f}) {
        const double lse = std::fmax(a, b) + std::log1p(std::exp(-std::fabs(double{a} - b)));
        const double with_sink = 1.0 + std::exp(sink - lse);
        const MergeWeights weights = WeighStates(a, b, sink);
        EXPECT_NEAR(weights.lse, lse, 1e-6 * (1.0 + std::fabs(lse)));
        EXPECT_NEAR(weights.a, std::exp(a - lse) / with_sink, 1e-5);
        EXPECT_NEAR(weights.b, std::exp(b - lse) / with_sink, 1e-5);
      }
    }
  }
}

TEST(MergeWeights, AnEmptyStateLeavesTheOtherToTheBit) {
  for (float empty : {-kInfinity, kInfinity}) {
    for (float x : {0.3f, -0.0f, 0.0f, 1e-40f, -7.25f}) {
      const MergeWeights left = WeighStates(empty, -2.5f, -kInfinity);
      const MergeWeights right = WeighStates(-2.5f, empty, -kInfinity);
      EXPECT_EQ(BitsOfFloat(MergeElement(left, kNan, x)), BitsOfFloat(x));
      EXPECT_EQ(BitsOfFloat(MergeElement(right, x, kNan)), BitsOfFloat(x));
      EXPECT_EQ(left.lse, -2.5f);
      EXPECT_EQ(right.lse, -2.5f);
    }
    for (float sink : {-kInfinity, 3.0f}) {
      const MergeWeights none = WeighStates(empty, -kInfinity, sink);
      EXPECT_EQ(BitsOfFloat(MergeElement(none, kNan, kNan)), 0u);
      EXPECT_EQ(none.lse, -kInfinity);
    }
  }
}

TEST(Weight, OfAnEmptyStateIsNothingAndAtTheMaximumItIsOne) {
  for (float unit : {1.0f, kLog2OfE}) {
    EXPECT_EQ(WeightOf(EmptyLse(), EmptyLse(), unit), 0.0f);
    EXPECT_EQ(WeightOf(EmptyLse(), -3.5f, unit), 0.0f);
    for (float lse : {-3.5f, 0.0f, 1e30f}) EXPECT_EQ(WeightOf(lse, lse, unit), 1.0f);
  }
}

TEST(MergeWeights, ChangingPlacesChangesNoBit) {
  const MergeWeights ab = WeighStates(1.25f, 0.75f, 0.5f), ba = WeighStates(0.75f, 1.25f, 0.5f);
  EXPECT_EQ(ab.lse, ba.lse);
  for (float x : {0.1f, -3.7f, 1e-3f})
    EXPECT_EQ(MergeElement(ab, x, 2.9f), MergeElement(ba, 2.9f, x));
}

TEST(MergeWeights, ANanReachesTheRow) {
  const MergeWeights weights = WeighStates(kNan, 1.0f, -kInfinity);
  EXPECT_TRUE(std::isnan(MergeElement(weights, 1.0f, 1.0f)));
  EXPECT_TRUE(std::isnan(weights.lse));
}

RankShare ShareOf(const std::vector<float>& lses, int rank, float sink, bool base2) {
  const RankLses places = {reinterpret_cast<uint64_t>(lses.data()), sizeof(float),
                           static_cast<int32_t>(lses.size())};
  return ShareOfRank(places, rank, sink, base2);
}

TEST(RankShare, IsTheSoftmaxOverTheRanks) {
  // The third, fifth and ninth count: there the way of adding up changes.
  const std::vector<float> lses = {0.5f,      kNan,       -1.25f, 3.0f, 2.5f,
                                   kInfinity, -kInfinity, -8.0f,  1.0f, 2.0f};
  for (size_t ranks = 1; ranks <= lses.size(); ++ranks) {
    const std::vector<float> some(lses.begin(), lses.begin() + static_cast<int64_t>(ranks));
    for (bool base2 : {false, true}) {
      for (float sink : {-kInfinity, 1.5f}) {
        const double unit = base2 ? std::log(2.0) : 1.0;
        double sum = 0.0;
        for (float lse : some) sum += std::isfinite(lse) ? std::exp(unit * lse) : 0.0;
        for (size_t rank = 0; rank < ranks; ++rank) {
          const RankShare share = ShareOf(some, static_cast<int>(rank), sink, base2);
          const double own = std::isfinite(some[rank]) ? std::exp(unit * some[rank]) : 0.0;
          EXPECT_NEAR(share.factor, own / (sum + std::exp(sink)), 1e-6);
          EXPECT_NEAR(share.lse, std::log(sum) / unit, 1e-5);
        }
      }
    }
  }
}

TEST(RankShare, OfNothingIsNothing) {
  for (float sink : {-kInfinity, 1.5f}) {
    const RankShare share = ShareOf({-kInfinity, kNan, kInfinity}, 1, sink, false);
    EXPECT_EQ(share.factor, 0.0f);
    EXPECT_EQ(share.lse, -kInfinity);
  }
  const RankShare alone = ShareOf({kNan, 7.5f}, 1, -kInfinity, true);
  EXPECT_EQ(alone.factor, 1.0f);
  EXPECT_EQ(alone.lse, 7.5f);
}

TensorView View(DType dtype, std::vector<int64_t> extents, std::vector<int64_t> strides,
                uint64_t address = 4096) {
  return *TensorView::Create(address, dtype, extents, strides, kDevice);
}

MergeStatesArgs MergeArgs(DType dtype, DType out, int64_t head_size, int64_t head_stride) {
  MergeStatesArgs args;
  args.a = View(dtype, {6, 4, head_size}, {4 * head_stride, head_stride, 1});
  args.b = View(dtype, {8, 4, head_size}, {4 * head_stride, head_stride, 1});
  args.out = View(out, {6, 4, head_size}, {4 * head_size, head_size, 1});
  args.a_lse = View(DType::kF32, {6, 4}, {1, 6});
  args.b_lse = View(DType::kF32, {6, 4}, {4, 1});
  return args;
}

TEST(StateArguments, MergesTakeWholeVectorsWhereTheyMay) {
  const absl::StatusOr<MergeStatesParams> p =
      MapMergeStates(MergeArgs(DType::kBF16, DType::kF8E4M3, 128, 136));
  ASSERT_TRUE(p.ok());
  EXPECT_TRUE(p->shape.whole);
  EXPECT_EQ(p->shape.vectors, 16u);
  EXPECT_EQ(p->shape.lanes_log2, 3);
  EXPECT_EQ(p->shape.rows, 6);
  EXPECT_EQ(p->a.row_stride, 4 * 136 * 2);
  EXPECT_EQ(p->out.head_stride, 128);
  EXPECT_EQ(p->a_lse.row_stride, 4);
  EXPECT_EQ(p->a_lse.head_stride, 24);
  EXPECT_EQ(p->lse.address, 0u);
  EXPECT_EQ(p->out_type, ElementType::kE4M3);
  EXPECT_FALSE(MapMergeStates(MergeArgs(DType::kBF16, DType::kF32, 128, 132))->shape.whole);
  EXPECT_FALSE(MapMergeStates(MergeArgs(DType::kBF16, DType::kF32, 68, 72))->shape.whole);
  EXPECT_TRUE(MapMergeStates(MergeArgs(DType::kF32, DType::kF8E4M3, 68, 72))->shape.whole);
}

TEST(StateArguments, CorrectionsTakeAnyStride) {
  CorrectAttnOutArgs args;
  args.out = args.corrected = View(DType::kF16, {6, 4, 64}, {4 * 64, 64, 1});
  args.lses = View(DType::kF32, {3, 6, 4}, {24, 4, 1});
  args.rank = 2;
  absl::StatusOr<CorrectAttnOutParams> p = MapCorrectAttnOut(args);
  ASSERT_TRUE(p.ok());
  EXPECT_TRUE(p->shape.whole);
  EXPECT_EQ(p->shape.vectors, 8u);
  EXPECT_EQ(p->out_vector_stride, 16);
  EXPECT_EQ(p->lses.row_stride, 16);
  EXPECT_EQ(p->lses_rank_stride, 96);
  args.corrected = View(DType::kF16, {6, 4, 64}, {4 * 128, 128, 2});
  p = MapCorrectAttnOut(args);
  EXPECT_FALSE(p->shape.whole);
  EXPECT_EQ(p->shape.vectors, 64u);
  EXPECT_EQ(p->out_vector_stride, 2);
  EXPECT_EQ(p->corrected_vector_stride, 4);
  args.out = args.corrected = View(DType::kF16, {6, 4, 0}, {4, 1, 1});
  EXPECT_EQ(MapCorrectAttnOut(args)->shape.vectors, 0u);
}

TEST(StateArguments, RowsAreFoldedIntoLaunches) {
  MergeStatesParams p = *MapMergeStates(MergeArgs(DType::kF32, DType::kF32, 4, 4));
  p.shape.rows = int64_t{1} << 31;
  int64_t rows = 0;
  for (MergeStatesParams some; rows < p.shape.rows; rows += some.shape.rows) {
    some = SkipRows(p, rows);
    ASSERT_GT(some.shape.rows, 0);
    ASSERT_LE(some.shape.rows * 4, kMaxItems);
    EXPECT_EQ(some.a.address, 4096u + static_cast<uint64_t>(rows) * 64);
    EXPECT_EQ(some.b_lse.address, 4096u + static_cast<uint64_t>(rows) * 16);
    EXPECT_EQ(some.lse.address, 0u);
  }
  EXPECT_EQ(rows, p.shape.rows);
}

TEST(StateArguments, RefuseWhatThirtyOneBitsCannotCount) {
  const int64_t many = int64_t{1} << 31;
  MergeStatesArgs merge;
  merge.a = merge.b = merge.out = View(DType::kF32, {1, many, 1}, {many, 1, 1});
  EXPECT_EQ(MapMergeStates(merge).status().code(), absl::StatusCode::kOutOfRange);
  CorrectAttnOutArgs correct;
  correct.out = correct.corrected = View(DType::kF32, {1, 1, 1}, {1, 1, 1});
  correct.lses = View(DType::kF32, {many, 1, 1}, {1, 1, 1});
  EXPECT_EQ(MapCorrectAttnOut(correct).status().code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace weft::cuda
