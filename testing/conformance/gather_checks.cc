// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/gather_checks.h"

#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/random.h"
#include "testing/conformance/strided_image.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

std::vector<int64_t> IndicesOf(const GatherCase& c, RandomStream& random) {
  const int64_t outside[] = {c.source_rows, -2, c.source_rows + 100,
                             std::numeric_limits<int64_t>::max(),
                             std::numeric_limits<int64_t>::min()};
  std::vector<int64_t> index;
  for (int64_t i = 0; i < c.rows; ++i) {
    if (i < c.holes) {
      index.push_back(-1);
    } else if (i < c.holes + c.bad) {
      index.push_back(outside[(i - c.holes) % 5]);
    } else {
      index.push_back(static_cast<int64_t>(random.Below(static_cast<uint64_t>(c.source_rows))));
    }
  }
  for (size_t i = index.size(); i > 1; --i) std::swap(index[i - 1], index[random.Below(i)]);
  return index;
}

std::vector<uint8_t> FillRow(const GatherCase& c, int64_t row_bytes) {
  std::vector<uint8_t> row(static_cast<size_t>(row_bytes));
  const int64_t size = SizeOf(c.dtype);
  for (int64_t i = 0; i < row_bytes / size; ++i) {
    if (IsFloat(c.dtype) || IsFp8(c.dtype)) {
      StoreFloat(c.dtype, row.data(), i, static_cast<float>(c.fill));
    } else {  // little-endian, so the low bytes of an int64_t are an int32_t
      std::memcpy(&row[i * size], &c.fill, static_cast<size_t>(size));
    }
  }
  return row;
}

StridedImage ImageOf(const GatherCase& c, int64_t rows, int64_t gap) {
  std::vector<int64_t> extents = {rows};
  extents.insert(extents.end(), c.inner.begin(), c.inner.end());
  std::vector<int64_t> strides(extents.size());
  int64_t stride = 1;
  for (size_t axis = extents.size(); axis-- > 0;) {
    strides[axis] = axis == 0 && c.strided ? stride + gap : stride;
    stride *= extents[axis];
  }
  return StridedImage(c.dtype, extents, strides, c.offset * SizeOf(c.dtype));
}

}  // namespace

std::string GatherCase::ToString() const {
  std::string line =
      absl::StrCat("gather dtype=", Name(dtype), " inner=", absl::StrJoin(inner, ","),
                   " source=", source_rows, " rows=", rows, " seed=", seed);
  if (holes > 0) absl::StrAppend(&line, " holes=", holes);
  if (bad > 0) absl::StrAppend(&line, " bad=", bad);
  if (fill > 0) absl::StrAppend(&line, " fill=", fill);
  if (offset > 0) absl::StrAppend(&line, " offset=", offset);
  if (strided) absl::StrAppend(&line, " io=strided");
  return line;
}

absl::StatusOr<GatherCase> GatherCase::Parse(std::string_view line) {
  CaseLineReader reader(line, "gather");
  GatherCase c;
  reader.Read("dtype", &c.dtype);
  reader.Read("inner", 1, &c.inner);
  reader.Read("source", 1, &c.source_rows);
  reader.Read("rows", 0, &c.rows);
  reader.Read("holes", 0, &c.holes);
  reader.Read("bad", 0, &c.bad);
  reader.Read("fill", 0, &c.fill);
  reader.Read("offset", 0, &c.offset);
  reader.Read("seed", &c.seed);
  int io = 0;
  reader.ReadWord("io", {"dense", "strided"}, &io);
  c.strided = io == 1;
  if (c.inner.size() > 4) reader.Fail("inner", "at most 4 extents");
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::Status CheckGather(Backend& backend, const GatherCase& c) {
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  RandomStream random({c.seed, 0x6a7});
  const std::vector<int64_t> index = IndicesOf(c, random);
  StridedImage source = ImageOf(c, c.source_rows, 3);
  StridedImage destination = ImageOf(c, c.rows, 2);
  for (int64_t row = 0; row < c.source_rows; ++row) {
    std::vector<uint8_t> bytes(static_cast<size_t>(source.row_bytes()));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
    source.SetRow(row, bytes);
  }
  std::vector<uint8_t> expected;
  const std::vector<uint8_t> fill = FillRow(c, destination.row_bytes());
  for (int64_t from : index) {
    const std::vector<uint8_t> row = from >= 0 && from < c.source_rows ? source.Row(from) : fill;
    expected.insert(expected.end(), row.begin(), row.end());
  }

  GatherRowsArgs args;
  args.fill = static_cast<float>(c.fill);
  ASSIGN_OR_RETURN(args.source, source.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(args.destination, destination.ToDevice(backend, *queue));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> indices, Upload(backend, *queue, AsBytes(index)));
  ASSIGN_OR_RETURN(args.index, TensorView::Contiguous(indices->address(), DType::kI64, {c.rows},
                                                      backend.device()));
  RETURN_IF_ERROR(queue->GatherRows(args));
  RETURN_IF_ERROR(destination.FromDevice(*queue));
  CompareContext context;
  context.case_line = c.ToString();
  context.tensor = "destination";
  RETURN_IF_ERROR(
      CompareBits(c.dtype, destination.extents(), destination.Dense(), expected, context));
  const absl::Status untouched = destination.CheckPoison("destination", c.rows);
  if (untouched.ok()) return untouched;
  return absl::FailedPreconditionError(
      absl::StrCat(untouched.message(), "\n  case: ", c.ToString()));
}

}  // namespace weft::testing
