// SPDX-License-Identifier: Apache-2.0
#include "core/ops/io_check.h"

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "core/view_check.h"

namespace weft {

absl::Status CheckQueryAndOut(std::string_view op, const Queue& queue, const AttentionSpec& spec,
                              int64_t rows, const TensorView& query, const TensorView& out,
                              const TensorView& lse, const KvCacheView& cache) {
  const ViewCheck check = {queue.allocations(), queue.device()};
  const auto named = [op](std::string_view name) { return absl::StrCat(op, ": ", name); };
  if (cache.segments().empty() && rows == 0) return absl::OkStatus();
  RETURN_IF_ERROR(check.Cache(named("cache"), cache));
  RETURN_IF_ERROR(
      check.Rows(named("query"), query, spec.query_dtype(), rows, spec.num_heads, spec.head_size));
  RETURN_IF_ERROR(
      check.Rows(named("out"), out, spec.output_dtype(), rows, spec.num_heads, spec.head_size));
  RETURN_IF_ERROR(CheckDisjoint(named("out"), out, "query", query));
  RETURN_IF_ERROR(CheckDisjointFromCache(named("out"), out, cache));
  if (!lse.given()) return absl::OkStatus();
  RETURN_IF_ERROR(check.Lse(named("lse"), lse, rows, spec.num_heads));
  RETURN_IF_ERROR(CheckDisjoint(named("lse"), lse, "query", query));
  RETURN_IF_ERROR(CheckDisjoint(named("lse"), lse, "out", out));
  return CheckDisjointFromCache(named("lse"), lse, cache);
}

}  // namespace weft
