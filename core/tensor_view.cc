// SPDX-License-Identifier: Apache-2.0
#include "core/tensor_view.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checked_math.h"

namespace weft {
namespace {

absl::Status Overflow(absl::Span<const int64_t> extents, absl::Span<const int64_t> strides) {
  return absl::OutOfRangeError(absl::StrCat("view [", absl::StrJoin(extents, ", "),
                                            "] with strides [", absl::StrJoin(strides, ", "),
                                            "]: offsets do not fit 63 bits"));
}

}  // namespace

absl::StatusOr<TensorView> TensorView::Create(uint64_t address, DType dtype,
                                              absl::Span<const int64_t> extents,
                                              absl::Span<const int64_t> strides, DeviceId device) {
  if (extents.empty() || extents.size() > kMaxRank || strides.size() != extents.size()) {
    return absl::InvalidArgumentError(absl::StrCat("view of rank ", extents.size(), " with ",
                                                   strides.size(), " strides: rank must be 1 to ",
                                                   kMaxRank, " with one stride each"));
  }
  TensorView view;
  view.address_ = address;
  view.dtype_ = dtype;
  view.device_ = device;
  view.rank_ = static_cast<int>(extents.size());
  std::optional<int64_t> elements = 1;
  std::optional<int64_t> last = 0;  // offset of the last element
  bool empty = false;
  for (int axis = 0; axis < view.rank_; ++axis) {
    if (extents[axis] < 0 || strides[axis] < 0) {
      return absl::InvalidArgumentError(absl::StrCat("view: axis ", axis, " has extent ",
                                                     extents[axis], " and stride ", strides[axis],
                                                     ", both must be >= 0"));
    }
    view.extents_[axis] = extents[axis];
    view.strides_[axis] = strides[axis];
    empty = empty || extents[axis] == 0;
  }
  if (empty) return view;
  for (int axis = 0; axis < view.rank_; ++axis) {
    elements = CheckedMul(*elements, extents[axis]);
    const std::optional<int64_t> reach = CheckedMul(extents[axis] - 1, strides[axis]);
    if (!elements || !reach) return Overflow(extents, strides);
    last = CheckedAdd(*last, *reach);
    if (!last) return Overflow(extents, strides);
  }
  const std::optional<int64_t> count = CheckedAdd(*last, 1);
  const std::optional<int64_t> bytes = count ? CheckedMul(*count, SizeOf(dtype)) : std::nullopt;
  if (!bytes || static_cast<uint64_t>(*bytes) > std::numeric_limits<uint64_t>::max() - address) {
    return Overflow(extents, strides);
  }
  if (address == 0) return absl::InvalidArgumentError("view: address is null");
  if (address % SizeOf(dtype) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("view: address 0x", absl::Hex(address),
                                                   " is not a multiple of ", SizeOf(dtype),
                                                   ", the size of ", Name(dtype)));
  }
  view.num_elements_ = *elements;
  view.span_bytes_ = *bytes;
  return view;
}

absl::StatusOr<TensorView> TensorView::Contiguous(uint64_t address, DType dtype,
                                                  absl::Span<const int64_t> extents,
                                                  DeviceId device) {
  std::array<int64_t, kMaxRank> strides = {};
  if (extents.empty() || extents.size() > kMaxRank)
    return Create(address, dtype, extents, {}, device);
  std::optional<int64_t> stride = 1;
  for (size_t axis = extents.size(); axis-- > 0;) {
    strides[axis] = *stride;
    // An empty view has no offsets; a stride of 0 keeps its product from overflowing.
    stride = CheckedMul(*stride, extents[axis]);
    if (!stride) return Overflow(extents, {});
  }
  return Create(address, dtype, extents, absl::MakeConstSpan(strides.data(), extents.size()),
                device);
}

bool TensorView::contiguous() const {
  int64_t expected = 1;
  for (int axis = rank_; axis-- > 0;) {
    if (extents_[axis] != 1 && strides_[axis] != expected) return false;
    expected *= extents_[axis];
  }
  return true;
}

std::string TensorView::ToString() const {
  if (!given()) return "(not given)";
  return absl::StrCat(Name(dtype_), "[",
                      absl::StrJoin(absl::MakeConstSpan(extents_.data(), rank_), ", "), "] on ",
                      weft::ToString(device_));
}

}  // namespace weft
