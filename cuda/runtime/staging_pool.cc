// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/staging_pool.h"

#include <algorithm>

#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft::cuda {

StagingPool::~StagingPool() {
  for (const Chunk& chunk : free_) source_.free(chunk.data);
}

absl::StatusOr<absl::Span<uint8_t>> StagingPool::Take(Lease& lease, int64_t bytes) {
  bytes = std::min(bytes, kChunkBytes);
  if (lease.empty() || lease.back().bytes - lease.back().used < bytes) {
    if (free_.empty()) {
      ASSIGN_OR_RETURN(uint8_t * data, source_.allocate(kChunkBytes));
      free_.push_back({data, kChunkBytes, 0});
    }
    lease.push_back(free_.back());
    free_.pop_back();
  }
  Chunk& chunk = lease.back();
  const absl::Span<uint8_t> room(chunk.data + chunk.used, static_cast<size_t>(bytes));
  chunk.used += std::min(CeilDiv(bytes, kAlignment) * kAlignment, chunk.bytes - chunk.used);
  return room;
}

void StagingPool::Release(Lease lease) {
  for (Chunk& chunk : lease) {
    chunk.used = 0;
    free_.push_back(chunk);
  }
}

int64_t StagingPool::pooled_bytes() const {
  int64_t bytes = 0;
  for (const Chunk& chunk : free_) bytes += chunk.bytes;
  return bytes;
}

}  // namespace weft::cuda
