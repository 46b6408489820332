// SPDX-License-Identifier: Apache-2.0
#include "core/tensor_view.h"

#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

constexpr DeviceId kDevice = {BackendKind::kVulkan, 1};
constexpr int64_t kHuge = int64_t{1} << 40;

TEST(TensorViewTest, Contiguous) {
  const absl::StatusOr<TensorView> view =
      TensorView::Contiguous(256, DType::kF16, {3, 4, 5}, kDevice);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->stride(0), 20);
  EXPECT_EQ(view->stride(1), 5);
  EXPECT_EQ(view->stride(2), 1);
  EXPECT_EQ(view->num_elements(), 60);
  EXPECT_EQ(view->span_bytes(), 120);
  EXPECT_TRUE(view->contiguous());
  EXPECT_EQ(view->ToString(), "f16[3, 4, 5] on vulkan:1");
}

TEST(TensorViewTest, StridedSpanEndsAtTheLastElement) {
  const absl::StatusOr<TensorView> view =
      TensorView::Create(8, DType::kF32, {3, 2}, {100, 7}, kDevice);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->span_bytes(), (2 * 100 + 1 * 7 + 1) * 4);
  EXPECT_FALSE(view->contiguous());
}

TEST(TensorViewTest, EmptyViewsHaveNoSpanAndMayBeNull) {
  const absl::StatusOr<TensorView> view =
      TensorView::Contiguous(0, DType::kF32, {0, kHuge, 8}, kDevice);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_TRUE(view->empty());
  EXPECT_TRUE(view->given());
  EXPECT_EQ(view->span_bytes(), 0);
  EXPECT_FALSE(TensorView().given());
}

TEST(TensorViewTest, RefusesOverflowOfProductsSumsAndAddresses) {
  const auto code = [](uint64_t address, absl::Span<const int64_t> extents,
                       absl::Span<const int64_t> strides) {
    return TensorView::Create(address, DType::kF32, extents, strides, kDevice).status().code();
  };
  constexpr auto kOutOfRange = absl::StatusCode::kOutOfRange;
  EXPECT_EQ(code(256, {kHuge, kHuge}, {1, 1}), kOutOfRange);  // elements
  EXPECT_EQ(code(256, {3, 2}, {std::numeric_limits<int64_t>::max() / 2, 1}), kOutOfRange);
  EXPECT_EQ(code(256, {2}, {std::numeric_limits<int64_t>::max() / 4}), kOutOfRange);  // bytes
  EXPECT_EQ(code(~uint64_t{0} - 3, {1024}, {1}), kOutOfRange);  // end of the address space
  EXPECT_EQ(code(256, {2}, {int64_t{1} << 60}), absl::StatusCode::kOk);
}

TEST(TensorViewTest, RefusesBadShapesByName) {
  const auto message = [](uint64_t address, absl::Span<const int64_t> extents,
                          absl::Span<const int64_t> strides) {
    return std::string(
        TensorView::Create(address, DType::kF32, extents, strides, kDevice).status().message());
  };
  EXPECT_THAT(message(256, {}, {}), HasSubstr("rank 0"));
  EXPECT_THAT(message(256, {1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}), HasSubstr("rank 6"));
  EXPECT_THAT(message(256, {2, 2}, {1}), HasSubstr("1 strides"));
  EXPECT_THAT(message(256, {2, -1}, {1, 1}), HasSubstr("axis 1 has extent -1"));
  EXPECT_THAT(message(256, {2, 2}, {-2, 1}), HasSubstr("axis 0 has extent 2 and stride -2"));
  EXPECT_THAT(message(0, {2}, {1}), HasSubstr("null"));
  EXPECT_THAT(message(258, {2}, {1}), HasSubstr("0x102 is not a multiple of 4"));
}

}  // namespace
}  // namespace weft
