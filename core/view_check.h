// SPDX-License-Identifier: Apache-2.0
//
// What the arguments of every operation must satisfy: right shape and dtype, on the queue's device,
// inside live memory, not on top of each other. Messages begin with the view's name, "attention:
// query".
#ifndef WEFT_CORE_VIEW_CHECK_H_
#define WEFT_CORE_VIEW_CHECK_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "core/address_map.h"
#include "core/device.h"
#include "core/kv_cache.h"
#include "core/tensor_view.h"

namespace weft {

struct ViewCheck {
  const AddressMap& allocations;
  DeviceId device;

  absl::Status Memory(std::string_view name, const TensorView& view) const;

  // [>= rows, heads, head_size], head_size adjacent.
  absl::Status Rows(std::string_view name, const TensorView& view, DType dtype, int64_t rows,
                    int64_t heads, int64_t head_size) const;

  // f32 [>= rows, heads], any strides.
  absl::Status Lse(std::string_view name, const TensorView& view, int64_t rows,
                   int64_t heads) const;

  // Contiguous [n, width] (width 0: [n]).
  absl::Status Table(std::string_view name, const TensorView& view, DType dtype,
                     int64_t width) const;

  // Contiguous f32 [n], or not given.
  absl::Status OptionalFloats(std::string_view name, const TensorView& view, int64_t n) const;

  absl::Status Cache(std::string_view name, const KvCacheView& cache) const;
};

// INVALID_ARGUMENT if the two share a byte. Empty views share none.
absl::Status CheckDisjoint(std::string_view a_name, const TensorView& a, std::string_view b_name,
                           const TensorView& b);
// The same, but `a` and `b` may be one and the same view: what is written element by element where
// it was read.
absl::Status CheckDisjointOrSame(std::string_view a_name, const TensorView& a,
                                 std::string_view b_name, const TensorView& b);
absl::Status CheckDisjointFromCache(std::string_view name, const TensorView& view,
                                    const KvCacheView& cache);
// INVALID_ARGUMENT: two elements of a view that is written share memory.
absl::Status CheckNoOverlapInside(std::string_view name, const TensorView& view);

}  // namespace weft

#endif  // WEFT_CORE_VIEW_CHECK_H_
