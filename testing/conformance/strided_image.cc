// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/strided_image.h"

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
                           int64_t offset)
    : dtype_(dtype), extents_(std::move(extents)), strides_(std::move(strides)), offset_(offset) {
  int64_t last = 0;
  bool empty = false;
  for (size_t axis = 0; axis < extents_.size(); ++axis) {
    last += (extents_[axis] - 1) * strides_[axis];
    empty |= extents_[axis] == 0;
  }
  const int64_t elements = empty ? 0 : last + 1;
  const int64_t bytes = offset_ + elements * SizeOf(dtype_) + kGuardBytes;
  bytes_ = PoisonBytes((bytes + 3) / 4 * 4);
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
  ASSIGN_OR_RETURN(buffer_, Upload(backend, queue, bytes_));
  return TensorView::Create(buffer_->address() + static_cast<uint64_t>(offset_), dtype_, extents_,
                            strides_, backend.device());
}

absl::Status StridedImage::FromDevice(Queue& queue) {
  ASSIGN_OR_RETURN(bytes_,
                   Download(queue, buffer_->address(), static_cast<int64_t>(bytes_.size())));
  return absl::OkStatus();
}

absl::Status StridedImage::CheckPoison(std::string_view name, int64_t used_rows) const {
  const std::vector<uint8_t> poison = PoisonBytes(static_cast<int64_t>(bytes_.size()));
  std::vector<uint8_t> rest = bytes_;
  const auto size = static_cast<size_t>(SizeOf(dtype_));
  for (int64_t row = 0; row < used_rows; ++row) {
    ForEachElement(row, [&](size_t at, size_t) { std::memcpy(&rest[at], &poison[at], size); });
  }
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == poison[i]) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        name, ": byte ", i, " was written; it belongs to no element of rows 0 to ", used_rows - 1));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
