// SPDX-License-Identifier: Apache-2.0
//
// How a bench judges what a device wrote: no element left as it was, and samples against float64.
#ifndef WEFT_TOOLS_BENCH_JUDGE_H_
#define WEFT_TOOLS_BENCH_JUDGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/queue.h"

namespace weft::bench {

// Runs all that was recorded, and what `bytes` bytes at `address` hold then.
absl::StatusOr<std::vector<uint8_t>> Fetch(Queue& queue, uint64_t address, int64_t bytes);

// FAILED_PRECONDITION: a NaN among the `rows` rows of `row_elements` at `address`; names the row.
// (The memory was full of NaN before the work.)
absl::Status CheckWritten(Queue& queue, DType dtype, uint64_t address, int64_t rows,
                          int64_t row_elements);

// One row of one head of `actual` against `expected`, within the tolerance of `dtype`.
absl::Status CheckVector(DType dtype, absl::Span<const uint8_t> actual,
                         absl::Span<const double> expected, const std::string& where);

// The bound of testing::CompareLse.
absl::Status CheckLseValue(float actual, double expected, double max_abs_logit,
                           const std::string& where);

// Bit by bit.
absl::Status CheckBytes(absl::Span<const uint8_t> actual, absl::Span<const uint8_t> expected,
                        const std::string& where);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_JUDGE_H_
