// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/strided_image.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

constexpr int64_t kGuardBytes = 64;

}  // namespace

StridedImage::StridedImage(DType dtype, std::vector<int64_t> extents, std::vector<int64_t> strides,
                           int64_t offset, Place place)
    : dtype_(dtype),
      extents_(std::move(extents)),
      strides_(std::move(strides)),
      offset_(place == Place::kDevice ? offset : 0),
      place_(place) {
  int64_t last = 0;
  bool empty = false;
  for (size_t axis = 0; axis < extents_.size(); ++axis) {
    last += (extents_[axis] - 1) * strides_[axis];
    empty |= extents_[axis] == 0;
  }
  const int64_t elements = empty ? 0 : last + 1;
  const int64_t bytes = offset_ + elements * SizeOf(dtype_);
  bytes_ = PoisonBytes(place == Place::kDevice ? (bytes + kGuardBytes + 3) / 4 * 4 : bytes);
}

int64_t StridedImage::row_bytes() const {
  int64_t bytes = SizeOf(dtype_);
  for (size_t axis = 1; axis < extents_.size(); ++axis) bytes *= extents_[axis];
  return bytes;
}

template <typename Visit>
void StridedImage::ForEachElement(int64_t row, Visit visit) const {
  const int64_t size = SizeOf(dtype_);
  const int64_t count = row_bytes() / size;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i;
    int64_t element = row * strides_[0];
    for (size_t axis = extents_.size(); axis-- > 1;) {
      element += rest % extents_[axis] * strides_[axis];
      rest /= extents_[axis];
    }
    visit(static_cast<size_t>(offset_ + element * size), static_cast<size_t>(i * size));
  }
}

void StridedImage::SetRow(int64_t row, absl::Span<const uint8_t> dense) {
  const auto size = static_cast<size_t>(SizeOf(dtype_));
  ForEachElement(row,
                 [&](size_t at, size_t from) { std::memcpy(&bytes_[at], &dense[from], size); });
}

std::vector<uint8_t> StridedImage::Row(int64_t row) const {
  std::vector<uint8_t> dense(static_cast<size_t>(row_bytes()));
  const auto size = static_cast<size_t>(SizeOf(dtype_));
  ForEachElement(row, [&](size_t at, size_t to) { std::memcpy(&dense[to], &bytes_[at], size); });
  return dense;
}

std::vector<uint8_t> StridedImage::Dense() const {
  std::vector<uint8_t> dense;
  for (int64_t row = 0; row < rows(); ++row) {
    const std::vector<uint8_t> bytes = Row(row);
    dense.insert(dense.end(), bytes.begin(), bytes.end());
  }
  return dense;
}

absl::StatusOr<TensorView> StridedImage::ToDevice(Backend& backend, Queue& queue) {
  ASSIGN_OR_RETURN(memory_, PlacedMemory::Create(backend, queue, bytes_, place_));
  return View(rows(), backend.device());
}

absl::StatusOr<TensorView> StridedImage::View(int64_t rows, DeviceId device) const {
  std::vector<int64_t> extents = extents_;
  extents[0] = rows;
  return TensorView::Create(memory_->address() + static_cast<uint64_t>(offset_), dtype_, extents,
                            strides_, device);
}

absl::Status StridedImage::FromDevice(Queue& queue) {
  ASSIGN_OR_RETURN(bytes_, memory_->Read(queue));
  return absl::OkStatus();
}

absl::Status StridedImage::CheckPoison(std::string_view name, int64_t used_rows) const {
  std::vector<bool> used(static_cast<size_t>(rows()), false);
  std::fill(used.begin(), used.begin() + used_rows, true);
  return CheckPoison(name, used);
}

absl::Status StridedImage::CheckPoison(std::string_view name, const std::vector<bool>& used) const {
  const std::vector<uint8_t> poison = PoisonBytes(static_cast<int64_t>(bytes_.size()));
  std::vector<uint8_t> rest = bytes_;
  const auto size = static_cast<size_t>(SizeOf(dtype_));
  for (int64_t row = 0; row < rows(); ++row) {
    if (!used[row]) continue;
    ForEachElement(row, [&](size_t at, size_t) { std::memcpy(&rest[at], &poison[at], size); });
  }
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == poison[i]) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        name, ": byte ", i, " was written; it belongs to no element of a row that ", "may be"));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
