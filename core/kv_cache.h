// SPDX-License-Identifier: Apache-2.0
//
// KvCacheLayout: where the key and value of (block, token in block, head, dimension) lie in a paged
// cache. KvCacheView: a layout, and the memory it describes, in one or more segments.
//
//   ASSIGN_OR_RETURN(KvCacheLayout layout, KvCacheLayout::Nhd(DType::kF16, /*block_size=*/16,
//   kv_heads, head_size)); ASSIGN_OR_RETURN(auto memory, backend->Allocate(layout.bytes_per_block()
//   * num_blocks)); ASSIGN_OR_RETURN(KvCacheView cache, KvCacheView::OneAllocation(layout,
//   memory->address(), num_blocks, memory->device()));
//
// A *slot* is the place of one token: block_id * block_size + offset in the block.
#ifndef WEFT_CORE_KV_CACHE_H_
#define WEFT_CORE_KV_CACHE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/device.h"
#include "core/dtype.h"

namespace weft {

// Distances in elements. The dimensions of one head are adjacent.
struct KvStrides {
  int64_t block = 0;
  int64_t token = 0;
  int64_t head = 0;
};

inline bool operator==(const KvStrides& a, const KvStrides& b) {
  return a.block == b.block && a.token == b.token && a.head == b.head;
}

class KvCacheLayout {
 public:
  // The seed's [num_blocks, 2, block_size, num_kv_heads, head_size]: keys and values of a block
  // stand side by side. block_size is any integer >= 1. INVALID_ARGUMENT names the value that does
  // not fit.
  static absl::StatusOr<KvCacheLayout> Nhd(DType dtype, int64_t block_size, int64_t num_kv_heads,
                                           int64_t head_size);

  // Any strides, keys and values apart; `bytes_per_block` is what one block takes of an allocation
  // made by OneAllocation (0: the layout has no such allocation) and `value_offset` the elements
  // from a block's first key to its first value there. INVALID_ARGUMENT: a stride that makes two
  // (token, head) of a block overlap.
  static absl::StatusOr<KvCacheLayout> Strided(DType dtype, int64_t block_size,
                                               int64_t num_kv_heads, int64_t head_size,
                                               KvStrides key, KvStrides value, int64_t value_offset,
                                               int64_t bytes_per_block);

  DType dtype() const { return dtype_; }
  int64_t block_size() const { return block_size_; }
  int64_t num_kv_heads() const { return num_kv_heads_; }
  int64_t head_size() const { return head_size_; }
  const KvStrides& key_strides() const { return key_; }
  const KvStrides& value_strides() const { return value_; }
  int64_t value_offset() const { return value_offset_; }
  int64_t bytes_per_block() const { return bytes_per_block_; }

  // Bytes from the first to one past the last element of keys (or values) in `num_blocks` blocks;
  // OUT_OF_RANGE on overflow.
  absl::StatusOr<int64_t> KeySpanBytes(int64_t num_blocks) const;
  absl::StatusOr<int64_t> ValueSpanBytes(int64_t num_blocks) const;

  uint64_t fingerprint() const;
  std::string ToString() const;

 private:
  DType dtype_ = DType::kF16;
  int64_t block_size_ = 0;
  int64_t num_kv_heads_ = 0;
  int64_t head_size_ = 0;
  KvStrides key_;
  KvStrides value_;
  int64_t value_offset_ = 0;
  int64_t bytes_per_block_ = 0;
};

// Blocks [0, num_blocks) of one allocation. One allocation is capped on many devices (4 GiB on
// NVIDIA's Vulkan, 2 GiB on lavapipe), so a pool is several of them.
struct KvSegment {
  uint64_t key_base = 0;
  uint64_t value_base = 0;
  int64_t num_blocks = 0;
};

class KvCacheView {
 public:
  KvCacheView() = default;

  // Block ids count through the segments in order. All segments but the last hold the same number
  // of blocks, so that a kernel finds a block's segment by one division; the last may hold fewer.
  // INVALID_ARGUMENT names the segment.
  static absl::StatusOr<KvCacheView> Create(const KvCacheLayout& layout, DeviceId device,
                                            absl::Span<const KvSegment> segments);

  // One allocation of num_blocks * layout.bytes_per_block() bytes at `address`.
  static absl::StatusOr<KvCacheView> OneAllocation(const KvCacheLayout& layout, uint64_t address,
                                                   int64_t num_blocks, DeviceId device);

  const KvCacheLayout& layout() const { return layout_; }
  DeviceId device() const { return device_; }
  absl::Span<const KvSegment> segments() const { return segments_; }
  int64_t num_blocks() const { return num_blocks_; }
  int64_t num_slots() const { return num_blocks_ * layout_.block_size(); }
  // Blocks of every segment but the last.
  int64_t blocks_per_segment() const {
    return segments_.empty() ? 0 : segments_.front().num_blocks;
  }

 private:
  KvCacheLayout layout_;
  DeviceId device_;
  std::vector<KvSegment> segments_;
  int64_t num_blocks_ = 0;
};

}  // namespace weft

#endif  // WEFT_CORE_KV_CACHE_H_
