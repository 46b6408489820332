// SPDX-License-Identifier: Apache-2.0
//
// Packing ragged rows and back: to the bit.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/device_io.h"
#include "testing/golden/golden_args.h"
#include "testing/golden/golden_data.h"
#include "testing/golden/judges.h"

namespace weft::testing {
namespace {

struct PackCase {
  DType dtype = DType::kF32;
  SafeTensor rows;  // [sum of lengths, tail...]
  std::vector<int32_t> lengths;
  int64_t longest = 0;
  float pad = 0.0f;
  std::vector<int64_t> packed_shape;  // [B, longest, tail...]

  int64_t num_sequences() const { return static_cast<int64_t>(lengths.size()); }
};

absl::StatusOr<PackCase> ReadPackCase(const GoldenArgs& args, const SafeTensorsFile& file) {
  PackCase c;
  ASSIGN_OR_RETURN(c.dtype, args.Dtype("dtype"));
  ASSIGN_OR_RETURN(const std::string pad, args.String("pad_value"));
  if (!absl::SimpleAtof(pad, &c.pad)) return absl::DataLossError("args.pad_value is no number");
  ASSIGN_OR_RETURN(const SafeTensor lengths, file.Get("lengths", "I32", {-1}));
  c.lengths = Values<int32_t>(lengths);
  int64_t total = 0;
  for (int32_t length : c.lengths) {
    if (length < 0) return absl::DataLossError(absl::StrCat(file.name(), ": a length < 0"));
    total += length;
    c.longest = std::max<int64_t>(c.longest, length);
  }
  const std::string_view name = SafeTensorsName(c.dtype);
  absl::StatusOr<SafeTensor> rows = file.Get("x", name, {total, -1});
  if (!rows.ok()) rows = file.Get("x", name, {total, -1, -1});
  ASSIGN_OR_RETURN(c.rows, std::move(rows));
  c.packed_shape = {c.num_sequences(), c.longest};
  c.packed_shape.insert(c.packed_shape.end(), c.rows.shape.begin() + 1, c.rows.shape.end());
  return c;
}

// The index maps of the two directions: where a packed row comes from, and a plain one.
void BuildMaps(const PackCase& c, std::vector<int64_t>& pack, std::vector<int64_t>& unpack) {
  int64_t start = 0;
  for (int64_t i = 0; i < c.num_sequences(); ++i) {
    for (int64_t t = 0; t < c.longest; ++t) {
      pack.push_back(t < c.lengths[i] ? start + t : -1);
      if (t < c.lengths[i]) unpack.push_back(i * c.longest + t);
    }
    start += c.lengths[i];
  }
}

absl::Status Gather(Backend& backend, Queue& queue, const TensorView& source,
                    const std::vector<int64_t>& map, float fill, const TensorView& destination,
                    std::vector<DeviceTensor>& keep) {
  ASSIGN_OR_RETURN(
      DeviceTensor index,
      UploadTensor(backend, queue, DType::kI64, {static_cast<int64_t>(map.size())}, AsBytes(map)));
  GatherRowsArgs call;
  call.source = source;
  call.index = index.view;
  call.destination = destination;
  call.fill = fill;
  keep.push_back(std::move(index));
  return queue.GatherRows(call);
}

}  // namespace

absl::Status JudgePack(Backend& backend, const GoldenCase& golden) {
  const GoldenArgs args(golden);
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const PackCase c, ReadPackCase(args, file));
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  std::vector<int64_t> pack, unpack;
  BuildMaps(c, pack, unpack);
  std::vector<int64_t> flat = c.rows.shape;
  flat[0] = c.num_sequences() * c.longest;
  ASSIGN_OR_RETURN(const DeviceTensor rows,
                   UploadTensor(backend, *queue, c.dtype, c.rows.shape, c.rows.data));
  ASSIGN_OR_RETURN(const DeviceTensor packed, NewTensor(backend, *queue, c.dtype, flat));
  ASSIGN_OR_RETURN(const DeviceTensor unpacked, NewTensor(backend, *queue, c.dtype, c.rows.shape));
  std::vector<DeviceTensor> keep;
  RETURN_IF_ERROR(Gather(backend, *queue, rows.view, pack, c.pad, packed.view, keep));
  RETURN_IF_ERROR(Gather(backend, *queue, packed.view, unpack, 0.0f, unpacked.view, keep));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> packed_data, DownloadBytes(*queue, packed));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> unpacked_data, DownloadBytes(*queue, unpacked));

  CompareContext context;
  context.case_line = absl::StrCat("golden ", golden.name);
  const std::string_view name = SafeTensorsName(c.dtype);
  for (const char* expected : {"ref_packed", "out_packed"}) {
    ASSIGN_OR_RETURN(const SafeTensor tensor, file.Get(expected, name, c.packed_shape));
    context.tensor = expected;
    RETURN_IF_ERROR(CompareBits(c.dtype, tensor.shape, packed_data, tensor.data, context));
  }
  ASSIGN_OR_RETURN(const SafeTensor tensor, file.Get("out_unpacked", name, c.rows.shape));
  context.tensor = "out_unpacked";
  RETURN_IF_ERROR(CompareBits(c.dtype, tensor.shape, unpacked_data, tensor.data, context));
  context.tensor = "x, packed and unpacked";
  return CompareBits(c.dtype, c.rows.shape, unpacked_data, c.rows.data, context);
}

}  // namespace weft::testing
