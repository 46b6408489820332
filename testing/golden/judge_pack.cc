// SPDX-License-Identifier: Apache-2.0
//
// Packing ragged rows and back: to the bit.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/ops/pack_seq.h"
#include "core/status_macros.h"
#include "testing/compare.h"
#include "testing/golden/golden_args.h"
#include "testing/golden/golden_data.h"
#include "testing/golden/judges.h"

namespace weft::testing {
namespace {

struct PackCase {
  DType dtype = DType::kF32;
  SafeTensor rows;  // [sum of lengths, tail...]
  std::vector<int64_t> lengths;
  float pad = 0.0f;
  std::vector<int64_t> packed_shape;  // [B, longest, tail...]
};

absl::StatusOr<PackCase> ReadPackCase(const GoldenArgs& args, const SafeTensorsFile& file) {
  PackCase c;
  ASSIGN_OR_RETURN(c.dtype, args.Dtype("dtype"));
  ASSIGN_OR_RETURN(const std::string pad, args.String("pad_value"));
  if (!absl::SimpleAtof(pad, &c.pad)) return absl::DataLossError("args.pad_value is no number");
  ASSIGN_OR_RETURN(const SafeTensor lengths, file.Get("lengths", "I32", {-1}));
  int64_t total = 0, longest = 0;
  for (int32_t length : Values<int32_t>(lengths)) {
    if (length < 0) return absl::DataLossError(absl::StrCat(file.name(), ": a length < 0"));
    c.lengths.push_back(length);
    total += length;
    longest = std::max<int64_t>(longest, length);
  }
  const std::string_view name = SafeTensorsName(c.dtype);
  absl::StatusOr<SafeTensor> rows = file.Get("x", name, {total, -1});
  if (!rows.ok()) rows = file.Get("x", name, {total, -1, -1});
  ASSIGN_OR_RETURN(c.rows, std::move(rows));
  c.packed_shape = {static_cast<int64_t>(c.lengths.size()), longest};
  c.packed_shape.insert(c.packed_shape.end(), c.rows.shape.begin() + 1, c.rows.shape.end());
  return c;
}

}  // namespace

absl::Status JudgePack(Backend& backend, const GoldenCase& golden) {
  const GoldenArgs args(golden);
  ASSIGN_OR_RETURN(const SafeTensorsFile file, SafeTensorsFile::Read(golden.path));
  ASSIGN_OR_RETURN(const PackCase c, ReadPackCase(args, file));
  ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, backend.CreateQueue());
  ASSIGN_OR_RETURN(const DeviceTensor rows,
                   UploadTensor(backend, *queue, c.dtype, c.rows.shape, c.rows.data));
  ASSIGN_OR_RETURN(const DeviceTensor packed, NewTensor(backend, *queue, c.dtype, c.packed_shape));
  ASSIGN_OR_RETURN(const DeviceTensor unpacked, NewTensor(backend, *queue, c.dtype, c.rows.shape));
  ASSIGN_OR_RETURN(const SeqIndex index,
                   SeqIndex::Create(backend, c.packed_shape[0] * c.packed_shape[1]));
  RETURN_IF_ERROR(PackSeq(*queue, index, rows.view, c.lengths, c.pad, packed.view));
  RETURN_IF_ERROR(UnpackSeq(*queue, index, packed.view, c.lengths, unpacked.view));
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
