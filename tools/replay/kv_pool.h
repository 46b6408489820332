// SPDX-License-Identifier: Apache-2.0
//
// KvPool: the memory of one layer's KV cache, in as many allocations as the device wants.
#ifndef WEFT_TOOLS_REPLAY_KV_POOL_H_
#define WEFT_TOOLS_REPLAY_KV_POOL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/kv_cache.h"
#include "core/queue.h"

namespace weft::replay {

// NaN in f32, and in both halves of a word in f16 and in bf16: what memory holds that nobody has
// written.
inline constexpr uint32_t kPoison = 0x7fff7fff;

class KvPool {
 public:
  // `num_blocks` blocks filled with kPoison by work recorded on `queue`, in allocations of at most
  // `max_allocation_bytes`, or what the device allows if that is 0. Allocate's errors.
  static absl::StatusOr<KvPool> Create(Backend& backend, Queue& queue, const KvCacheLayout& layout,
                                       int64_t num_blocks, int64_t max_allocation_bytes);

  const KvCacheView& view() const { return view_; }

 private:
  std::vector<std::unique_ptr<Buffer>> buffers_;
  KvCacheView view_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_KV_POOL_H_
