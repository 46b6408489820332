// SPDX-License-Identifier: Apache-2.0
//
// StridedImage: a tensor with gaps as the host holds it, poisoned wherever no element is, so that a
// write beside the elements shows.
#ifndef WEFT_TESTING_CONFORMANCE_STRIDED_IMAGE_H_
#define WEFT_TESTING_CONFORMANCE_STRIDED_IMAGE_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "testing/conformance/placed_memory.h"

namespace weft::testing {

class StridedImage {
 public:
  StridedImage() = default;

  // All poison. Axis 0 is the row. Element (0, ..., 0) stands `offset` bytes from the start, and
  // there is poison behind the last element too; but on guarded pages (then `offset` is not looked
  // at) the memory begins with the first element and ends with the last.
  StridedImage(DType dtype, std::vector<int64_t> extents, std::vector<int64_t> strides,
               int64_t offset = 0, Place place = Place::kDevice);

  int64_t rows() const { return extents_[0]; }
  int64_t row_bytes() const;  // without gaps
  const std::vector<int64_t>& extents() const { return extents_; }
  int64_t stride(size_t axis) const { return strides_[axis]; }
  DType dtype() const { return dtype_; }

  // A row, without gaps.
  void SetRow(int64_t row, absl::Span<const uint8_t> dense);
  std::vector<uint8_t> Row(int64_t row) const;
  // All rows one after the other.
  std::vector<uint8_t> Dense() const;

  // Copies the image to new memory (recorded on `queue`) and makes the view on it. Once for an
  // image.
  absl::StatusOr<TensorView> ToDevice(Backend& backend, Queue& queue);
  // After ToDevice: the view of the first `rows` rows.
  absl::StatusOr<TensorView> View(int64_t rows, DeviceId device) const;

  // Replaces the image by what the memory holds now; waits for the device.
  absl::Status FromDevice(Queue& queue);

  // FAILED_PRECONDITION, with the place, if a byte outside rows [0, used_rows) is not what a fresh
  // image has there. `name` is for the message.
  absl::Status CheckPoison(std::string_view name, int64_t used_rows) const;
  // The same for the rows that `used` does not name; it has one entry for each row.
  absl::Status CheckPoison(std::string_view name, const std::vector<bool>& used) const;

 private:
  // Calls `visit(byte offset in the image, byte offset in the dense row)` for each element of a
  // row.
  template <typename Visit>
  void ForEachElement(int64_t row, Visit visit) const;

  DType dtype_ = DType::kF32;
  std::vector<int64_t> extents_;
  std::vector<int64_t> strides_;
  int64_t offset_ = 0;
  std::vector<uint8_t> bytes_;
  Place place_ = Place::kDevice;
  std::unique_ptr<PlacedMemory> memory_;
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_STRIDED_IMAGE_H_
