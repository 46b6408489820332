// SPDX-License-Identifier: Apache-2.0
//
// Runs the kernel's cut into items on the CPU, element by element, and holds the codes against
// core/dtype.h.
#include "cuda/kernels/quantize/arguments.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "cuda/kernels/element_type.h"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/head_places.h"
#include "cuda/kernels/quantize/config.h"
#include "cuda/kernels/quantize/params.h"
#include "cuda/kernels/row_groups.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

constexpr DeviceId kDevice = {BackendKind::kCuda, 0};

struct Case {
  DType from = DType::kBF16;
  DType to = DType::kF8E4M3;
  int64_t rows = 5;
  int64_t heads = 3;
  int64_t head_size = 64;
  int64_t source_gap = 0;  // elements between heads
  int64_t destination_gap = 0;
  bool scales = true;
};

void Run(const QuantizeFp8Params& p) {
  const uint32_t count = p.whole ? 16 / ElementBytes(p.source_type) : 1;
  const DType from = p.source_type == ElementType::kF32   ? DType::kF32
                     : p.source_type == ElementType::kF16 ? DType::kF16
                                                          : DType::kBF16;
  const uint32_t items = static_cast<uint32_t>(p.rows) * p.heads * p.parts;
  for (uint32_t block = 0; block < BlocksOfItems(items, p.lanes_log2); ++block) {
    for (uint32_t thread = 0; thread < kGroupThreads; ++thread) {
      const QuantizeItem item = ItemOf(p, PlaceOfThread(block, thread, p.lanes_log2));
      if (item.row >= p.rows) continue;
      const auto* source = reinterpret_cast<const void*>(PlaceOf(p.source, item.row, item.head));
      auto* to = reinterpret_cast<uint8_t*>(PlaceOf(p.destination, item.row, item.head));
      for (int i = 0; i < kQuantizeVectorsInFlight; ++i) {
        const uint32_t vector = item.first + (i << p.lanes_log2);
        if (vector >= item.end) continue;
        for (uint32_t d = vector * count; d < (vector + 1) * count; ++d) {
          float value[1] = {LoadFloat(from, source, d)};
          DivideAll(QuotientOfHead(p, item.head), p.source_type, value);
          ASSERT_EQ(to[d], 0xA5) << "written twice";
          to[d] = static_cast<uint8_t>(Fp8OfFloat(p.destination_type, value[0]));
        }
      }
    }
  }
}

struct alignas(16) Aligned {
  uint8_t bytes[16];
};

bool Check(const Case& c) {
  const int64_t element = SizeOf(c.from);
  const int64_t source_head = c.head_size + c.source_gap;
  const int64_t destination_head = c.head_size + c.destination_gap;
  std::vector<Aligned> from(static_cast<size_t>(c.rows * c.heads * source_head * element) / 16 + 1);
  std::vector<Aligned> to(static_cast<size_t>(c.rows * c.heads * destination_head) / 16 + 1);
  auto* const source = reinterpret_cast<uint8_t*>(from.data());
  auto* const destination = reinterpret_cast<uint8_t*>(to.data());
  for (int64_t i = 0; i < c.rows * c.heads * source_head; ++i) {
    StoreFloat(c.from, source, i, static_cast<float>(i * 31 % 257 - 128) * 0.37f);
  }
  for (size_t i = 0; i < to.size() * 16; ++i) destination[i] = 0xA5;
  const std::vector<float> scales = {0.3f, 2.0f, 1.7f};
  QuantizeFp8Args args;
  args.source = *TensorView::Create(reinterpret_cast<uint64_t>(source), c.from,
                                    {c.rows, c.heads, c.head_size},
                                    {c.heads * source_head, source_head, 1}, kDevice);
  args.destination = *TensorView::Create(
      reinterpret_cast<uint64_t>(destination), c.to, {c.rows, c.heads, c.head_size},
      {c.heads * destination_head, destination_head, 1}, kDevice);
  args.scale = 0.5f;
  if (c.scales) {
    args.head_scales = *TensorView::Contiguous(reinterpret_cast<uint64_t>(scales.data()),
                                               DType::kF32, {c.heads}, kDevice);
  }
  const absl::StatusOr<QuantizeFp8Params> params = MapQuantizeFp8(args);
  EXPECT_TRUE(params.ok()) << params.status();
  Run(*params);
  for (int64_t i = 0; i < c.rows * c.heads; ++i) {
    const float scale = c.scales ? 0.5f * scales[i % c.heads] : 0.5f;
    for (int64_t d = 0; d < destination_head; ++d) {
      const uint8_t actual = destination[i * destination_head + d];
      uint8_t expected = 0xA5;
      if (d < c.head_size) {
        StoreFloat(c.to, &expected, 0, LoadFloat(c.from, source, i * source_head + d) / scale);
      }
      EXPECT_EQ(actual, expected) << i << ", " << d;
    }
  }
  return params->whole;
}

TEST(QuantizeFp8Arguments, WholeVectorsWhereEverythingIsAligned) {
  Case c;
  EXPECT_TRUE(Check(c));
  c.to = DType::kF8E5M2;
  c.scales = false;
  c.head_size = 5000 * 8;  // many parts
  c.rows = 1;
  EXPECT_TRUE(Check(c));
  c.from = DType::kF32;
  c.head_size = 20;
  EXPECT_TRUE(Check(c));
  c.source_gap = 4;
  c.destination_gap = 4;
  EXPECT_TRUE(Check(c));
}

TEST(QuantizeFp8Arguments, OneElementWhereItIsNot) {
  Case c;
  c.from = DType::kF16;
  c.head_size = 20;
  EXPECT_FALSE(Check(c));
  c.head_size = 64;
  c.source_gap = 4;
  EXPECT_FALSE(Check(c));
  c.source_gap = 8;
  EXPECT_TRUE(Check(c));
  c.destination_gap = 4;
  EXPECT_FALSE(Check(c));
  c.head_size = 1;
  EXPECT_FALSE(Check(c));
}

TEST(QuantizeFp8Arguments, RowsAreFoldedIntoLaunches) {
  QuantizeFp8Params p = {};
  p.rows = (int64_t{1} << 31) + 5;
  p.heads = 3;
  p.parts = 2;
  p.source = {256, 12, 4};
  int64_t rows = 0;
  for (QuantizeFp8Params some; rows < p.rows; rows += some.rows) {
    some = SkipRows(p, rows);
    ASSERT_GT(some.rows, 0);
    ASSERT_LE(some.rows * 6, kMaxItems);
    EXPECT_EQ(some.source.address, 256u + static_cast<uint64_t>(rows) * 12);
  }
  EXPECT_EQ(rows, p.rows);
}

TEST(QuantizeFp8Arguments, RefusesWhatThirtyOneBitsCannotCount) {
  QuantizeFp8Args args;  // views are values; nothing is read here
  args.source = *TensorView::Contiguous(256, DType::kF32, {1, 1, int64_t{1} << 31}, kDevice);
  args.destination =
      *TensorView::Contiguous(256, DType::kF8E4M3, {1, 1, int64_t{1} << 31}, kDevice);
  EXPECT_EQ(MapQuantizeFp8(args).status().code(), absl::StatusCode::kOutOfRange);
  args.source = *TensorView::Contiguous(256, DType::kF32, {1, int64_t{1} << 31, 1}, kDevice);
  args.destination =
      *TensorView::Contiguous(256, DType::kF8E4M3, {1, int64_t{1} << 31, 1}, kDevice);
  EXPECT_EQ(MapQuantizeFp8(args).status().code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace weft::cuda
