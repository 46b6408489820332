// SPDX-License-Identifier: Apache-2.0
//
// States to be merged, as the host holds them: outputs and LSEs of rows, with what makes merging
// hard in fixed rows.
#ifndef WEFT_TESTING_CONFORMANCE_STATE_DATA_H_
#define WEFT_TESTING_CONFORMANCE_STATE_DATA_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "testing/conformance/placed_memory.h"
#include "testing/conformance/random.h"
#include "testing/conformance/strided_image.h"

namespace weft::testing {

// [rows, heads, d] of `dtype` with numbers in [-2, 2), and one NaN, in the last row, if `nan`.
std::vector<uint8_t> StateValues(DType dtype, int64_t rows, int64_t heads, int64_t d, bool nan,
                                 RandomStream& random);

// Contiguous f32, or nothing and a view that is not given.
absl::StatusOr<TensorView> UploadFloats(Backend& backend, Queue& queue,
                                        const std::vector<float>& values, Place place,
                                        std::unique_ptr<PlacedMemory>& memory);

// Sinks of some heads, as heavy as the states, lighter, and -inf; none if not `given`.
std::vector<float> StateSinks(bool given, int64_t heads);

// Sets all rows of an image; `dense` has the rows without gaps.
void SetRows(StridedImage& image, const std::vector<uint8_t>& dense);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_STATE_DATA_H_
