// SPDX-License-Identifier: Apache-2.0
//
// StagingPool: host memory that a device copies from and to while the host goes on. A *lease* is
// the memory of one submission; it comes back as a whole when that submission is done.
#ifndef WEFT_CUDA_RUNTIME_STAGING_POOL_H_
#define WEFT_CUDA_RUNTIME_STAGING_POOL_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace weft::cuda {

// Not thread-safe: it belongs to a queue. Pinning memory is slow (a millisecond for a few MiB), so
// what was once taken is kept until the pool is destroyed.
class StagingPool {
 public:
  // Where the chunks come from: pinned memory in a queue, plain memory in a test. The addresses are
  // multiples of kAlignment.
  struct Source {
    std::function<absl::StatusOr<uint8_t*>(int64_t bytes)> allocate;
    std::function<void(uint8_t*)> free;
  };
  struct Chunk {
    uint8_t* data = nullptr;
    int64_t bytes = 0;
    int64_t used = 0;
  };
  using Lease = std::vector<Chunk>;

  static constexpr int64_t kAlignment = 256;
  static constexpr int64_t kChunkBytes = int64_t{8} << 20;

  explicit StagingPool(Source source) : source_(std::move(source)) {}
  // Frees the chunks that are back. Those of a lease that was not released are lost on purpose: a
  // device may still be using them.
  ~StagingPool();
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;

  // Adjacent room for min(bytes, kChunkBytes) bytes from `lease`, which grows if need be; a longer
  // copy takes several. bytes >= 1. The errors of Source::allocate; then nothing has changed.
  absl::StatusOr<absl::Span<uint8_t>> Take(Lease& lease, int64_t bytes);
  void Release(Lease lease);

  int64_t pooled_bytes() const;

 private:
  Source source_;
  std::vector<Chunk> free_;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_RUNTIME_STAGING_POOL_H_
