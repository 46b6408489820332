// SPDX-License-Identifier: Apache-2.0
//
// What the calls of core/ops that attend have in common: the tensors of a layer's attention over
// the cache, and what is checked of them before anything is recorded. The operations check the rest
// again.
#ifndef WEFT_CORE_OPS_IO_CHECK_H_
#define WEFT_CORE_OPS_IO_CHECK_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "core/attention_layer.h"
#include "core/attention_spec.h"
#include "core/kv_cache.h"
#include "core/ops/step_arrays.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

// All keys are in the cache: there are none to be written.
AttentionIo IoOverCache(const TensorView& query, const TensorView& out, const TensorView& lse,
                        const KvCacheView& cache);

// Rows of the query; 0 without query_start_loc. Nothing is validated.
int64_t NumRows(const StepArrays& arrays);

// `rows` rows of query, out and, if given, lse; a cache on the queue's device; what is written lies
// apart from the rest. INVALID_ARGUMENT and OUT_OF_RANGE begin with `op`.
absl::Status CheckIo(std::string_view op, const Queue& queue, const AttentionSpec& spec,
                     int64_t rows, const AttentionIo& io);

}  // namespace weft

#endif  // WEFT_CORE_OPS_IO_CHECK_H_
