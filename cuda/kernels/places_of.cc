// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/places_of.h"

#include "core/dtype.h"
#include "cuda/kernels/row_groups.h"

namespace weft::cuda {

HeadPlaces PlacesOf(const TensorView& view, int64_t rows) {
  if (!view.given()) return {};
  const int64_t element = SizeOf(view.dtype());
  return {view.address(), StrideBytes(rows, view.stride(0), element),
          StrideBytes(view.extent(1), view.stride(1), element)};
}

bool IsAligned(const HeadPlaces& places, int64_t bytes) {
  const uint64_t bits = places.address | places.row_stride | places.head_stride;
  return bits % static_cast<uint64_t>(bytes) == 0;
}

}  // namespace weft::cuda
