// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/kv_pool.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft::replay {

absl::StatusOr<KvPool> KvPool::Create(Backend& backend, Queue& queue, const KvCacheLayout& layout,
                                      int64_t num_blocks, int64_t max_allocation_bytes) {
  KvPool pool;
  const int64_t limit =
      max_allocation_bytes > 0 ? max_allocation_bytes : backend.info().max_allocation_bytes;
  const int64_t fitting = limit > 0 ? limit / layout.bytes_per_block() : num_blocks;
  if (fitting < 1) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "one cache block takes ", layout.bytes_per_block(), " bytes, and an allocation on ",
        ToString(backend.device()), " has at most ", limit));
  }
  const auto value_bytes = static_cast<uint64_t>(layout.value_offset() * SizeOf(layout.dtype()));
  std::vector<KvSegment> segments;
  for (int64_t left = num_blocks; left > 0; left -= segments.back().num_blocks) {
    const int64_t blocks = std::min(left, fitting);
    const int64_t bytes = blocks * layout.bytes_per_block();
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(bytes));
    RETURN_IF_ERROR(queue.Fill(buffer->address(), bytes, kPoison));
    segments.push_back({buffer->address(), buffer->address() + value_bytes, blocks});
    pool.buffers_.push_back(std::move(buffer));
  }
  ASSIGN_OR_RETURN(pool.view_, KvCacheView::Create(layout, backend.device(), segments));
  return pool;
}

}  // namespace weft::replay
