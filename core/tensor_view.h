// SPDX-License-Identifier: Apache-2.0
//
// TensorView: a typed, strided window on device memory that somebody else owns.
//
//   ASSIGN_OR_RETURN(TensorView query,
//                    TensorView::Contiguous(buffer->address(), DType::kF16, {rows, heads,
//                    head_size}, buffer->device()));
//
// A view is checked once, when it is made: afterwards no product of an extent and a stride can
// overflow. It is a small value; copy it freely. It does not keep the memory alive.
#ifndef WEFT_CORE_TENSOR_VIEW_H_
#define WEFT_CORE_TENSOR_VIEW_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/device.h"
#include "core/dtype.h"

namespace weft {

class TensorView {
 public:
  static constexpr int kMaxRank = 5;

  // No memory at all: stands for "not given". ok to copy, address 0, rank 0.
  TensorView() = default;

  // `address` is the device address of element (0, ..., 0); strides count elements, one for each
  // extent, and are >= 0. INVALID_ARGUMENT: rank out of [1, kMaxRank], negative extent or stride,
  // null address with elements, address not a multiple of the element size. OUT_OF_RANGE: the last
  // byte's offset does not fit 63 bits or the address space.
  static absl::StatusOr<TensorView> Create(uint64_t address, DType dtype,
                                           absl::Span<const int64_t> extents,
                                           absl::Span<const int64_t> strides, DeviceId device);

  // Row-major without gaps.
  static absl::StatusOr<TensorView> Contiguous(uint64_t address, DType dtype,
                                               absl::Span<const int64_t> extents, DeviceId device);

  bool empty() const { return num_elements_ == 0; }
  bool given() const { return rank_ != 0; }
  uint64_t address() const { return address_; }
  DType dtype() const { return dtype_; }
  DeviceId device() const { return device_; }
  int rank() const { return rank_; }
  int64_t extent(int axis) const { return extents_[axis]; }
  int64_t stride(int axis) const { return strides_[axis]; }
  int64_t num_elements() const { return num_elements_; }

  // Bytes from address() to one past the last element that an index reaches; 0 if empty.
  int64_t span_bytes() const { return span_bytes_; }

  // True if the elements lie row-major without gaps.
  bool contiguous() const;

  // "f16[12, 8, 64] on vulkan:0".
  std::string ToString() const;

 private:
  uint64_t address_ = 0;
  DType dtype_ = DType::kF32;
  DeviceId device_;
  int rank_ = 0;
  std::array<int64_t, kMaxRank> extents_ = {};
  std::array<int64_t, kMaxRank> strides_ = {};
  int64_t num_elements_ = 0;
  int64_t span_bytes_ = 0;
};

}  // namespace weft

#endif  // WEFT_CORE_TENSOR_VIEW_H_
