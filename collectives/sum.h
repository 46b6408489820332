// SPDX-License-Identifier: Apache-2.0
//
// The reduction of ReduceScatter and AllReduce, on the host.
#ifndef WEFT_COLLECTIVES_SUM_H_
#define WEFT_COLLECTIVES_SUM_H_

#include <cstdint>

#include "absl/types/span.h"
#include "core/dtype.h"

namespace weft {

// sum[i] = parts[0][i] + parts[1][i] + ..., in that order, for `count` elements in host memory, any
// alignment. f16 and bf16 are summed in f32 and rounded once; integers wrap. `sum` may be one of
// the parts. At least one part.
void SumInOrder(DType dtype, absl::Span<const uint8_t* const> parts, int64_t count, uint8_t* sum);

}  // namespace weft

#endif  // WEFT_COLLECTIVES_SUM_H_
