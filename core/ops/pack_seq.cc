// SPDX-License-Identifier: Apache-2.0
#include "core/ops/pack_seq.h"

#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft {
namespace {

template <typename... T>
absl::Status Invalid(std::string_view op, const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat(op, ": ", text...));
}

// x [N, ...] beside packed [B, Lmax, ...].
absl::Status CheckShapes(std::string_view op, const TensorView& x, const TensorView& packed,
                         int64_t sequences) {
  if (sequences == 0) return Invalid(op, "no sequences, must be at least one");
  bool alike = x.given() && packed.given() && x.rank() >= 2 && packed.rank() == x.rank() + 1 &&
               x.dtype() == packed.dtype() && packed.extent(0) == sequences;
  for (int axis = 1; alike && axis < x.rank(); ++axis)
    alike = x.extent(axis) == packed.extent(axis + 1);
  if (!alike) {
    return Invalid(op, "x is ", x.ToString(), ", packed is ", packed.ToString(), " for ", sequences,
                   " sequences; must be [N, ...] and [", sequences,
                   ", Lmax, ...] of one dtype with the same trailing extents");
  }
  for (const auto& [name, view] : {std::pair("x", &x), std::pair("packed", &packed)}) {
    if (!view->empty() && !view->contiguous()) {
      return Invalid(op, name, " ", view->ToString(), " is not contiguous");
    }
  }
  return absl::OkStatus();
}

// Returns the sum of the lengths.
absl::StatusOr<int64_t> CheckLengths(std::string_view op, absl::Span<const int64_t> lengths,
                                     int64_t max_length, int64_t rows) {
  int64_t total = 0;
  for (size_t b = 0; b < lengths.size(); ++b) {
    const int64_t length = lengths[b];
    if (length < 0 || length > max_length) {
      return Invalid(op, "lengths[", b, "] is ", length, ", must be in [0, ", max_length,
                     "], packed's Lmax");
    }
    if (length > rows - total) {
      return Invalid(op, "lengths[", b, "] is ", length, ", but x has ", rows, " rows and ", total,
                     " are taken by the sequences before");
    }
    total += length;
  }
  return total;
}

// GatherRows fills with a float: it must stand for the value that the integer dtype stores.
absl::Status CheckPad(DType dtype, float pad) {
  if (IsFloat(dtype) || IsFp8(dtype)) return absl::OkStatus();
  const double bits = 8.0 * static_cast<double>(SizeOf(dtype));
  const bool is_unsigned = dtype == DType::kU8;
  const double low = is_unsigned ? 0.0 : -std::exp2(bits - 1);
  const double end = is_unsigned ? std::exp2(bits) : std::exp2(bits - 1);
  if (pad == std::floor(pad) && pad >= low && pad < end) return absl::OkStatus();
  return Invalid("pack_seq", "pad value ", pad, " is no ", Name(dtype), ", must be an integer in [",
                 low, ", ", end, ")");
}

absl::Status Gather(std::string_view op, Queue& queue, const SeqIndex& scratch,
                    const std::vector<int64_t>& index, const TensorView& source,
                    const TensorView& destination, int64_t row_elements, float fill) {
  const auto rows = static_cast<int64_t>(index.size());
  if (rows > scratch.max_rows()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        op, ": the result has ", rows, " rows, the index has room for ", scratch.max_rows()));
  }
  if (scratch.device() != queue.device()) {
    return Invalid(op, "the index lies on ", ToString(scratch.device()), ", the queue's device is ",
                   ToString(queue.device()));
  }
  if (rows == 0 || row_elements == 0) return absl::OkStatus();
  const auto flat = [&](const TensorView& view, int64_t count) {
    return TensorView::Contiguous(view.address(), view.dtype(), {count, row_elements},
                                  view.device());
  };
  GatherRowsArgs args;
  args.fill = fill;
  ASSIGN_OR_RETURN(args.source, flat(source, source.num_elements() / row_elements));
  ASSIGN_OR_RETURN(args.destination, flat(destination, rows));
  ASSIGN_OR_RETURN(
      args.index, TensorView::Contiguous(scratch.address(), DType::kI64, {rows}, scratch.device()));
  RETURN_IF_ERROR(queue.CopyFromHost(
      scratch.address(),
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(index.data()), index.size() * 8)));
  return queue.GatherRows(args);
}

int64_t RowElements(const TensorView& x) {
  int64_t elements = 1;
  for (int axis = 1; axis < x.rank(); ++axis) elements *= x.extent(axis);
  return elements;
}

}  // namespace

absl::StatusOr<SeqIndex> SeqIndex::Create(Backend& backend, int64_t max_rows) {
  const std::optional<int64_t> bytes = CheckedMul(max_rows, 8);
  if (max_rows < 1 || !bytes) {
    return absl::InvalidArgumentError(absl::StrCat("sequence index of ", max_rows, " rows"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(*bytes));
  return SeqIndex(std::move(buffer));
}

absl::Status PackSeq(Queue& queue, const SeqIndex& index, const TensorView& x,
                     absl::Span<const int64_t> lengths, float pad_value, const TensorView& packed) {
  constexpr std::string_view kOp = "pack_seq";
  RETURN_IF_ERROR(CheckShapes(kOp, x, packed, static_cast<int64_t>(lengths.size())));
  RETURN_IF_ERROR(CheckPad(x.dtype(), pad_value));
  const int64_t max_length = packed.extent(1);
  RETURN_IF_ERROR(CheckLengths(kOp, lengths, max_length, x.extent(0)).status());
  std::vector<int64_t> map;
  map.reserve(lengths.size() * static_cast<size_t>(max_length));
  int64_t start = 0;
  for (const int64_t length : lengths) {
    for (int64_t t = 0; t < max_length; ++t) map.push_back(t < length ? start + t : -1);
    start += length;
  }
  return Gather(kOp, queue, index, map, x, packed, RowElements(x), pad_value);
}

absl::Status UnpackSeq(Queue& queue, const SeqIndex& index, const TensorView& packed,
                       absl::Span<const int64_t> lengths, const TensorView& x) {
  constexpr std::string_view kOp = "unpack_seq";
  RETURN_IF_ERROR(CheckShapes(kOp, x, packed, static_cast<int64_t>(lengths.size())));
  const int64_t max_length = packed.extent(1);
  RETURN_IF_ERROR(CheckLengths(kOp, lengths, max_length, x.extent(0)).status());
  std::vector<int64_t> map;
  for (size_t b = 0; b < lengths.size(); ++b) {
    for (int64_t t = 0; t < lengths[b]; ++t)
      map.push_back(static_cast<int64_t>(b) * max_length + t);
  }
  return Gather(kOp, queue, index, map, packed, x, RowElements(x), 0.0f);
}

}  // namespace weft
