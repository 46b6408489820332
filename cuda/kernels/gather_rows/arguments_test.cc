// SPDX-License-Identifier: Apache-2.0
//
// Runs the kernel's own arithmetic (params.h) on the CPU, thread by thread, against plain indexing.
#include "cuda/kernels/gather_rows/arguments.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "cuda/kernels/gather_rows/config.h"
#include "cuda/kernels/gather_rows/params.h"
#include "cuda/kernels/row_groups.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

constexpr DeviceId kDevice = {BackendKind::kCuda, 0};

struct Wide {
  uint32_t x, y, z, w;
};

template <typename Unit>
void Run(const GatherRowsParams& p) {
  const uint32_t items = static_cast<uint32_t>(p.rows) * p.parts;
  for (uint32_t block = 0; block < BlocksOfItems(items, p.lanes_log2); ++block) {
    for (uint32_t thread = 0; thread < kGroupThreads; ++thread) {
      GatherPart<Unit>(p, PlaceOfThread(block, thread, p.lanes_log2));
    }
  }
}

struct Case {
  DType dtype = DType::kBF16;
  int64_t width = 64;
  int64_t offset = 0;  // elements
  int64_t gap = 0;     // elements between rows
  float fill = 3.0f;
  std::vector<int64_t> index;
  int64_t source_rows = 7;
};

struct alignas(16) Aligned {
  uint8_t bytes[16];
};

// Gathers, and returns the unit that the launch took.
int Check(const Case& c) {
  const int64_t element = SizeOf(c.dtype), row_bytes = c.width * element;
  const auto rows = static_cast<int64_t>(c.index.size());
  const int64_t pitch = (c.width + c.gap) * element, offset = c.offset * element;
  std::vector<Aligned> from(static_cast<size_t>(offset + c.source_rows * pitch) / 16 + 1);
  std::vector<Aligned> to(static_cast<size_t>(offset + rows * pitch) / 16 + 1);
  auto* const source = reinterpret_cast<uint8_t*>(from.data());
  auto* const destination = reinterpret_cast<uint8_t*>(to.data());
  for (size_t i = 0; i < from.size() * 16; ++i) source[i] = static_cast<uint8_t>(i * 37 + i / 251);
  std::memset(destination, 0xA5, to.size() * 16);
  std::vector<uint8_t> expected(destination, destination + to.size() * 16);
  for (int64_t row = 0; row < rows; ++row) {
    uint8_t* const at = expected.data() + offset + row * pitch;
    const int64_t picked = c.index[row];
    if (picked >= 0 && picked < c.source_rows) {
      std::memcpy(at, source + offset + picked * pitch, static_cast<size_t>(row_bytes));
      continue;
    }
    for (int64_t i = 0; i < c.width; ++i) {
      const auto integral = static_cast<int64_t>(c.fill);  // little-endian
      if (IsFloat(c.dtype) || IsFp8(c.dtype)) {
        StoreFloat(c.dtype, at, i, c.fill);
      } else {
        std::memcpy(at + i * element, &integral, static_cast<size_t>(element));
      }
    }
  }

  GatherRowsArgs args;
  args.fill = c.fill;
  const int64_t strides[] = {c.width + c.gap, 1};
  args.source = *TensorView::Create(reinterpret_cast<uint64_t>(source) + offset, c.dtype,
                                    {c.source_rows, c.width}, strides, kDevice);
  args.destination = *TensorView::Create(reinterpret_cast<uint64_t>(destination) + offset, c.dtype,
                                         {rows, c.width}, strides, kDevice);
  args.index = *TensorView::Contiguous(reinterpret_cast<uint64_t>(c.index.data()), DType::kI64,
                                       {rows}, kDevice);
  const absl::StatusOr<GatherRowsLaunch> launch = MapGatherRows(args);
  EXPECT_TRUE(launch.ok()) << launch.status();
  if (launch->unit_bytes == 16) Run<Wide>(launch->params);
  if (launch->unit_bytes == 4) Run<uint32_t>(launch->params);
  if (launch->unit_bytes == 2) Run<uint16_t>(launch->params);
  if (launch->unit_bytes == 1) Run<uint8_t>(launch->params);
  EXPECT_EQ(std::memcmp(destination, expected.data(), expected.size()), 0)
      << Name(c.dtype) << " width " << c.width;
  return launch->unit_bytes;
}

std::vector<int64_t> SomeRows() {
  return {3,
          -1,
          0,
          6,
          7,
          3,
          1,
          -2,
          std::numeric_limits<int64_t>::max(),
          std::numeric_limits<int64_t>::min(),
          int64_t{1} << 32};
}

TEST(GatherRowsArguments, EveryDtypeAndWidth) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI32, DType::kI64,
                      DType::kF8E4M3, DType::kF8E5M2, DType::kU8}) {
    for (int64_t width : {1, 2, 3, 8, 40, 65, 1024, 4104}) {
      Case c;
      c.dtype = dtype;
      c.width = width;
      c.index = SomeRows();
      const int64_t bytes = width * SizeOf(dtype);
      EXPECT_EQ(Check(c), bytes % 16 == 0 ? 16 : bytes % 4 == 0 ? 4 : bytes % 2 == 0 ? 2 : 1);
    }
  }
}

TEST(GatherRowsArguments, AnOffsetOrAGapNarrowsTheUnit) {
  Case c;
  c.index = SomeRows();
  c.offset = 8;
  EXPECT_EQ(Check(c), 16);
  c.offset = 2;
  EXPECT_EQ(Check(c), 4);
  c.offset = 0;
  c.gap = 7;
  EXPECT_EQ(Check(c), 2);
}

TEST(GatherRowsArguments, ManyRowsAndManyParts) {
  Case c;
  for (int64_t i = 0; i < 1000; ++i) c.index.push_back(i % 9 - 1);
  for (int64_t width : {8, 24, 512, 1024, 1032, 5000}) {
    c.width = width;
    Check(c);
  }
}

// More rows than a launch takes: the launches together name each row once.
TEST(GatherRowsArguments, RowsAreFoldedIntoLaunches) {
  GatherRowsParams p = {};
  p.parts = 3;
  p.rows = (int64_t{1} << 33) + 5;
  p.destination_row_stride = 6;
  int64_t rows = 0;
  while (rows < p.rows) {
    const GatherRowsParams some = SkipRows(p, rows);
    ASSERT_GT(some.rows, 0);
    ASSERT_LE(some.rows * some.parts, kMaxItems);
    EXPECT_EQ(some.index, static_cast<uint64_t>(rows) * 8);
    EXPECT_EQ(some.destination, static_cast<uint64_t>(rows) * 6);
    rows += some.rows;
  }
  EXPECT_EQ(rows, p.rows);
}

TEST(GatherRowsArguments, RefusesARowOfTooManyParts) {
  GatherRowsArgs args;  // views are values; nothing is read here
  const int64_t width = (int64_t{1} << 31) * kGatherUnitsOfPart * 16;
  args.source = *TensorView::Contiguous(16, DType::kU8, {1, width}, kDevice);
  args.destination = args.source;
  args.index = *TensorView::Contiguous(256, DType::kI64, {1}, kDevice);
  EXPECT_EQ(MapGatherRows(args).status().code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace weft::cuda
