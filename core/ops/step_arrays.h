// SPDX-License-Identifier: Apache-2.0
//
// StepArrays: one step as the seeds' functions are given it (002 and 003: cu_seqlens_q, seqused_k,
// block_table), in host memory. The classes of core/ops turn it into AttentionMetadata, where all
// of it is validated.
#ifndef WEFT_CORE_OPS_STEP_ARRAYS_H_
#define WEFT_CORE_OPS_STEP_ARRAYS_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/attention_metadata.h"
#include "core/attention_spec.h"
#include "core/kv_cache.h"
#include "core/step_buffers.h"

namespace weft {

// R requests. The caller's memory; looked at only while the call lasts.
struct StepArrays {
  // [R + 1], from 0, never falling: request i has rows [query_start_loc[i], query_start_loc[i + 1])
  // of the query. A request may have none.
  absl::Span<const int32_t> query_start_loc;
  // [R]: keys of each request, its new tokens included.
  absl::Span<const int32_t> seq_lens;
  // [R, block_table_width], row-major: block ids. Entries behind a request's last used block are
  // not looked at; with a window, nor are those before it.
  absl::Span<const int32_t> block_table;
  // Or in place of it, the byte addresses of the blocks' keys (seed 003, is_block_table_ptr).
  absl::Span<const uint64_t> block_addresses;
  int64_t block_table_width = 0;
};

// Which requests are decodes: their rows' keys are split into granules over many workgroups. The
// others' rows walk their keys in one piece.
enum class DecodeRule : uint8_t {
  kSingleTokens,        // of one new token
  kAllButSingleTokens,  // the reverse, for plans that take the others only
  kAll,
  kNone,
};

// INVALID_ARGUMENT or OUT_OF_RANGE, beginning with `op`: names request, column, value and bound.
// `window`: of the layer, 0 = none.
absl::StatusOr<AttentionMetadata> BuildStepMetadata(std::string_view op, const StepArrays& arrays,
                                                    const KvCacheView& cache, DecodeRule rule,
                                                    int64_t window);

// What no step of a class of core/ops may exceed; its device memory is allocated for it.
struct OpLimits {
  int64_t max_rows = 0;         // query rows of a step, of all requests
  int64_t max_decode_rows = 0;  // of requests that are decodes; each takes workspace
  int64_t max_requests = 0;
  int64_t max_seq_len = 0;
  int64_t world_size = 1;  // of a PCP group; max_rows are those of one rank
};

// INVALID_ARGUMENT: a limit < 1, except max_decode_rows.
absl::StatusOr<StepLimits> StepLimitsOf(std::string_view op, const AttentionSpec& spec,
                                        const KvCacheLayout& layout, const OpLimits& limits);

}  // namespace weft

#endif  // WEFT_CORE_OPS_STEP_ARRAYS_H_
