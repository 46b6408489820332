// SPDX-License-Identifier: Apache-2.0
//
// Rounds results once.
#ifndef WEFT_TESTING_REFERENCE_ROUNDING_H_
#define WEFT_TESTING_REFERENCE_ROUNDING_H_

#include <cstdint>

#include "core/dtype.h"

namespace weft {

// `value` rounded once to `dtype` (a detour over float would round twice). `data` is an array of a
// float or fp8 dtype in host memory.
void StoreRounded(DType dtype, void* data, int64_t index, double value);

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_ROUNDING_H_
