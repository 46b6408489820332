// SPDX-License-Identifier: Apache-2.0
//
// The operations of the reference backend other than attention, on numbers made by hand.
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/device_io.h"
#include "testing/reference/reference_backend.h"

namespace weft::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
const float kLog2 = std::log(2.0f), kLog3 = std::log(3.0f);

class OperationsTest : public ::testing::TestWithParam<const char*> {
 protected:
  OperationsTest() {
    EXPECT_TRUE(RegisterReferenceBackend(registry_).ok());
    backend_ = registry_.Create(GetParam()).value();
    queue_ = backend_->CreateQueue().value();
  }

  TensorView Put(DType dtype, const std::vector<float>& values, std::vector<int64_t> shape,
                 std::vector<int64_t> strides = {}) {
    std::vector<uint8_t> bytes(values.size() * static_cast<size_t>(SizeOf(dtype)));
    for (size_t i = 0; i < values.size(); ++i)
      StoreFloat(dtype, bytes.data(), static_cast<int64_t>(i), values[i]);
    return PutBytes(dtype, bytes, std::move(shape), std::move(strides));
  }

  TensorView PutBytes(DType dtype, absl::Span<const uint8_t> bytes, std::vector<int64_t> shape,
                      std::vector<int64_t> strides = {}) {
    buffers_.push_back(Upload(*backend_, *queue_, bytes).value());
    const uint64_t address = buffers_.back()->address();
    const DeviceId device = backend_->device();
    return strides.empty() ? TensorView::Contiguous(address, dtype, shape, device).value()
                           : TensorView::Create(address, dtype, shape, strides, device).value();
  }

  // `count` elements from the view's first.
  std::vector<float> Get(const TensorView& view, int64_t count) {
    const auto bytes = Download(*queue_, view.address(), count * SizeOf(view.dtype())).value();
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(LoadFloat(view.dtype(), bytes.data(), i));
    return values;
  }

  Registry registry_;
  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

INSTANTIATE_TEST_SUITE_P(Reference, OperationsTest,
                         ::testing::Values("reference:0", "reference:1"));

TEST_P(OperationsTest, MergeStatesWeighsByTheSums) {
  MergeStatesArgs args;
  // Weights 1 and 3; then an empty state on either side, full of NaN; then two of them.
  args.a = Put(DType::kF32, {8, -8, kNan, 5, kNan}, {5, 1, 1});
  args.b = Put(DType::kF32, {4, -4, 7, kNan, kNan}, {5, 1, 1});
  args.a_lse = Put(DType::kF32, {0, 100, -kInfinity, 2, -kInfinity}, {5, 1});
  args.b_lse = Put(DType::kF32, {kLog3, 100, 3, kInfinity, kInfinity}, {5, 1});
  args.out = Put(DType::kF32, {9, 9, 9, 9, 9}, {5, 1, 1});
  args.lse = Put(DType::kF32, {9, 9, 9, 9, 9}, {5, 1});
  ASSERT_TRUE(queue_->MergeStates(args).ok());
  const std::vector<float> out = Get(args.out, 5), lse = Get(args.lse, 5);
  EXPECT_NEAR(out[0], 5.0f, 1e-6);
  EXPECT_NEAR(lse[0], std::log(4.0f), 1e-6);
  EXPECT_NEAR(out[1], -6.0f, 1e-6);
  EXPECT_NEAR(lse[1], 100.0f + kLog2, 1e-5);
  EXPECT_EQ(out[2], 7.0f);  // to the bit
  EXPECT_EQ(lse[2], 3.0f);
  EXPECT_EQ(out[3], 5.0f);
  EXPECT_EQ(lse[3], 2.0f);
  EXPECT_EQ(out[4], 0.0f);
  EXPECT_EQ(lse[4], -kInfinity);
}

TEST_P(OperationsTest, MergeWithNothingKeepsTheSignOfZero) {
  MergeStatesArgs args;
  args.a = Put(DType::kF16, {-0.0f}, {1, 1, 1});
  args.b = Put(DType::kF16, {3}, {1, 1, 1});
  args.a_lse = Put(DType::kF32, {1}, {1, 1});
  args.b_lse = Put(DType::kF32, {-kInfinity}, {1, 1});
  args.out = args.a;  // in place
  ASSERT_TRUE(queue_->MergeStates(args).ok());
  EXPECT_TRUE(std::signbit(Get(args.out, 1)[0]));
}

TEST_P(OperationsTest, MergeStatesAppliesASinkOnce) {
  MergeStatesArgs args;
  // [1, heads, 1] with a sink for each head: 2 beside weights 1 and 1; none; one beyond exp; and
  // one where there is no state at all.
  args.a = Put(DType::kF32, {8, 8, 8, 8}, {1, 4, 1});
  args.b = Put(DType::kF32, {4, 4, 4, 4}, {1, 4, 1});
  args.a_lse = Put(DType::kF32, {0, 0, 0, -kInfinity}, {1, 4});
  args.b_lse = Put(DType::kF32, {0, 0, 0, -kInfinity}, {1, 4});
  args.sinks = Put(DType::kF32, {kLog2, -kInfinity, 200, 1}, {4});
  args.out = Put(DType::kF32, {9, 9, 9, 9}, {1, 4, 1});
  args.lse = Put(DType::kF32, {9, 9, 9, 9}, {1, 4});
  ASSERT_TRUE(queue_->MergeStates(args).ok());
  const std::vector<float> out = Get(args.out, 4), lse = Get(args.lse, 4);
  EXPECT_NEAR(out[0], 3.0f, 1e-6);
  EXPECT_NEAR(out[1], 6.0f, 1e-6);
  EXPECT_NEAR(out[2], 0.0f, 1e-30);
  EXPECT_EQ(out[3], 0.0f);
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(lse[i], kLog2, 1e-6) << i;
  EXPECT_EQ(lse[3], -kInfinity);
}

TEST_P(OperationsTest, MergeStatesQuantises) {
  MergeStatesArgs args;
  args.a = Put(DType::kF32, {8, 1000, -3}, {1, 1, 3});
  args.b = args.a;
  args.a_lse = Put(DType::kF32, {0}, {1, 1});
  args.b_lse = args.a_lse;
  args.out = Put(DType::kF8E4M3, {9, 9, 9}, {1, 1, 3});
  args.out_scale = 0.5f;
  ASSERT_TRUE(queue_->MergeStates(args).ok());
  EXPECT_EQ(Get(args.out, 3), (std::vector<float>{16, 448, -6}));
}

TEST_P(OperationsTest, CorrectAttnOutTakesItsShare) {
  CorrectAttnOutArgs args;
  // Rows: shares 1, 2, 1 of which rank 1 has half; ranks with NaN and +inf; an own LSE of -inf; all
  // empty.
  args.lses = Put(DType::kF32,
                  {0, kNan, 0, -kInfinity,      //
                   kLog2, 5, -kInfinity, kNan,  //
                   0, kInfinity, 0, kInfinity},
                  {3, 4, 1});
  args.rank = 1;
  args.out = Put(DType::kBF16, {8, 8, kNan, kNan}, {4, 1, 1});
  args.corrected = args.out;
  args.lse = Put(DType::kF32, {9, 9, 9, 9}, {4, 1});
  ASSERT_TRUE(queue_->CorrectAttnOut(args).ok());
  EXPECT_EQ(Get(args.out, 4), (std::vector<float>{4, 8, 0, 0}));
  const std::vector<float> lse = Get(args.lse, 4);
  EXPECT_NEAR(lse[0], std::log(4.0f), 1e-6);
  EXPECT_EQ(lse[1], 5.0f);
  EXPECT_NEAR(lse[2], kLog2, 1e-6);
  EXPECT_EQ(lse[3], -kInfinity);
}

TEST_P(OperationsTest, CorrectAttnOutInBase2WithASink) {
  CorrectAttnOutArgs args;
  args.lses = Put(DType::kF32, {1, 1}, {2, 1, 1});  // 2 and 2
  args.out = Put(DType::kF32, {8}, {1, 1, 1});
  args.corrected = Put(DType::kF32, {9}, {1, 1, 1});
  args.lse = Put(DType::kF32, {9}, {1, 1});
  args.base = LseBase::k2;
  ASSERT_TRUE(queue_->CorrectAttnOut(args).ok());
  EXPECT_NEAR(Get(args.corrected, 1)[0], 4.0f, 1e-6);
  EXPECT_NEAR(Get(args.lse, 1)[0], 2.0f, 1e-6);
  args.sinks = Put(DType::kF32, {2 * kLog2}, {1});  // 4, in natural log as always
  ASSERT_TRUE(queue_->CorrectAttnOut(args).ok());
  EXPECT_NEAR(Get(args.corrected, 1)[0], 2.0f, 1e-6);
  EXPECT_NEAR(Get(args.lse, 1)[0], 2.0f, 1e-6);
}

TEST_P(OperationsTest, CorrectAttnOutFollowsAnyStrides) {
  CorrectAttnOutArgs args;
  // out is [2, 1, 2] with its dimensions apart; one rank alone gives back what it has.
  args.out = Put(DType::kF16, {1, 0, 2, 0, 3, 0, 4, 0}, {2, 1, 2}, {4, 1, 2});
  args.corrected = Put(DType::kF16, {9, 9, 9, 9}, {2, 1, 2}, {1, 1, 2});
  args.lses = Put(DType::kF32, {7, 7, 7}, {1, 2, 1}, {1, 2, 1});
  ASSERT_TRUE(queue_->CorrectAttnOut(args).ok());
  EXPECT_EQ(Get(args.corrected, 4), (std::vector<float>{1, 3, 2, 4}));
}

TEST_P(OperationsTest, QuantizeFp8DividesRoundsAndSaturates) {
  QuantizeFp8Args args;
  args.source =
      Put(DType::kF32, {1, 1.0625f, 1e9f, -1e9f, kNan, -0.0f, 3, 3, 3, 3, 3, 3}, {1, 2, 6});
  args.destination = Put(DType::kF8E4M3, std::vector<float>(12), {1, 2, 6});
  ASSERT_TRUE(queue_->QuantizeFp8(args).ok());
  std::vector<float> got = Get(args.destination, 12);
  EXPECT_EQ(got[0], 1.0f);
  EXPECT_EQ(got[1], 1.0f);  // the tie goes to even
  EXPECT_EQ(got[2], 448.0f);
  EXPECT_EQ(got[3], -448.0f);
  EXPECT_TRUE(std::isnan(got[4]));
  EXPECT_TRUE(std::signbit(got[5]));
  args.scale = 0.5f;
  args.head_scales = Put(DType::kF32, {2, 0.25f}, {2});
  args.destination = Put(DType::kF8E5M2, std::vector<float>(12), {1, 2, 6});
  ASSERT_TRUE(queue_->QuantizeFp8(args).ok());
  got = Get(args.destination, 12);
  EXPECT_EQ(got[0], 1.0f);
  EXPECT_EQ(got[2], 57344.0f);
  EXPECT_EQ(got[6], 24.0f);
}

TEST_P(OperationsTest, GatherRowsMovesBytesAndFillsThem) {
  GatherRowsArgs args;
  const std::vector<int64_t> index = {1, -1, 0};
  args.index = PutBytes(DType::kI64, AsBytes(index), {3});
  const std::vector<uint8_t> bytes = {1, 2, 3, 254, 255, 0};
  args.source = PutBytes(DType::kU8, bytes, {2, 3});
  args.destination = PutBytes(DType::kU8, std::vector<uint8_t>(9), {3, 3});
  args.fill = 200.0f;
  ASSERT_TRUE(queue_->GatherRows(args).ok());
  EXPECT_EQ(Download(*queue_, args.destination.address(), 9).value(),
            (std::vector<uint8_t>{254, 255, 0, 200, 200, 200, 1, 2, 3}));
  args.source = PutBytes(DType::kF8E4M3, bytes, {2, 3});
  args.destination = PutBytes(DType::kF8E4M3, std::vector<uint8_t>(9), {3, 3});
  args.fill = -1.0f;
  ASSERT_TRUE(queue_->GatherRows(args).ok());
  EXPECT_EQ(Download(*queue_, args.destination.address(), 9).value(),
            (std::vector<uint8_t>{254, 255, 0, 0xb8, 0xb8, 0xb8, 1, 2, 3}));
}

TEST_P(OperationsTest, AFillThatNoIntegerHoldsIsCut) {
  GatherRowsArgs args;
  const std::vector<int64_t> index = {-1};
  args.index = PutBytes(DType::kI64, AsBytes(index), {1});
  args.source = PutBytes(DType::kI32, std::vector<uint8_t>(4), {1, 1});
  args.destination = PutBytes(DType::kI32, std::vector<uint8_t>(4), {1, 1});
  args.fill = -kInfinity;
  ASSERT_TRUE(queue_->GatherRows(args).ok());
  EXPECT_EQ(Download(*queue_, args.destination.address(), 4).value(),
            (std::vector<uint8_t>{0, 0, 0, 0x80}));
}

}  // namespace
}  // namespace weft::testing
