// SPDX-License-Identifier: Apache-2.0
//
// What the calls of core/ops check of their tensors before they record anything. The operations
// check the rest again.
#ifndef WEFT_CORE_OPS_IO_CHECK_H_
#define WEFT_CORE_OPS_IO_CHECK_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "core/attention_spec.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft {

// `rows` rows of query, out and, if given, lse; a cache on the queue's device; what is written lies
// apart from the rest. INVALID_ARGUMENT and OUT_OF_RANGE begin with `op`.
absl::Status CheckQueryAndOut(std::string_view op, const Queue& queue, const AttentionSpec& spec,
                              int64_t rows, const TensorView& query, const TensorView& out,
                              const TensorView& lse, const KvCacheView& cache);

}  // namespace weft

#endif  // WEFT_CORE_OPS_IO_CHECK_H_
