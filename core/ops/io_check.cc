// SPDX-License-Identifier: Apache-2.0
#include "core/ops/io_check.h"

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "core/view_check.h"

namespace weft {

AttentionIo IoOverCache(const TensorView& query, const TensorView& out, const TensorView& lse,
                        const KvCacheView& cache) {
  AttentionIo io;
  io.query = query;
  io.out = out;
  io.lse = lse;
  io.cache = cache;
  return io;
}

int64_t NumRows(const StepArrays& arrays) {
  return arrays.query_start_loc.empty() ? 0 : arrays.query_start_loc.back();
}

absl::Status CheckIo(std::string_view op, const Queue& queue, const AttentionSpec& spec,
                     int64_t rows, const AttentionIo& io) {
  const ViewCheck check = {queue.allocations(), queue.device()};
  const auto named = [op](std::string_view name) { return absl::StrCat(op, ": ", name); };
  if (io.cache.segments().empty() && rows == 0) return absl::OkStatus();
  RETURN_IF_ERROR(check.Cache(named("cache"), io.cache));
  RETURN_IF_ERROR(check.Rows(named("query"), io.query, spec.query_dtype(), rows, spec.num_heads,
                             spec.head_size));
  RETURN_IF_ERROR(
      check.Rows(named("out"), io.out, spec.output_dtype(), rows, spec.num_heads, spec.head_size));
  RETURN_IF_ERROR(CheckDisjoint(named("out"), io.out, "query", io.query));
  RETURN_IF_ERROR(CheckDisjointFromCache(named("out"), io.out, io.cache));
  if (!io.lse.given()) return absl::OkStatus();
  RETURN_IF_ERROR(check.Lse(named("lse"), io.lse, rows, spec.num_heads));
  RETURN_IF_ERROR(CheckDisjoint(named("lse"), io.lse, "query", io.query));
  RETURN_IF_ERROR(CheckDisjoint(named("lse"), io.lse, "out", io.out));
  return CheckDisjointFromCache(named("lse"), io.lse, io.cache);
}

}  // namespace weft
