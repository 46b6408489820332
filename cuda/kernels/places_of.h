// SPDX-License-Identifier: Apache-2.0
//
// From views to the places that kernels work on.
#ifndef WEFT_CUDA_KERNELS_PLACES_OF_H_
#define WEFT_CUDA_KERNELS_PLACES_OF_H_

#include <cstdint>

#include "core/tensor_view.h"
#include "cuda/kernels/head_places.h"

namespace weft::cuda {

// Bytes of one vector access.
inline constexpr int64_t kVectorBytes = 16;

// Of [rows, heads] or [rows, heads, dimensions]. The view may hold more rows than that.
HeadPlaces PlacesOf(const TensorView& view, int64_t rows);

// True if every (row, head) lies at a multiple of `bytes`.
bool IsAligned(const HeadPlaces& places, int64_t bytes);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_PLACES_OF_H_
