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

// Distances in elements. Dimension d of a head lies `(d / inner) * split + d % inner` behind its
// dimension 0: the dimensions are cut into runs of `inner` adjacent ones (the seeds' x), a run
// every `split` elements. One run (inner = head size) unless a layout says otherwise.
struct KvStrides {
  int64_t block = 0;
  int64_t token = 0;
  int64_t head = 0;
  int64_t inner = 0;  // 0: all dimensions of a head are adjacent
  int64_t split = 0;  // looked at only if inner > 0
};

inline bool operator==(const KvStrides& a, const KvStrides& b) {
  return a.block == b.block && a.token == b.token && a.head == b.head && a.inner == b.inner &&
         a.split == b.split;
}

// Elements from a head's dimension 0 to its dimension d.
constexpr int64_t DimOffset(const KvStrides& strides, int64_t d) {
  return strides.inner == 0 ? d : d / strides.inner * strides.split + d % strides.inner;
}

class KvCacheLayout {
 public:
  // The seed's [num_blocks, 2, block_size, num_kv_heads, head_size]: keys and values of a block
  // stand side by side. block_size is any integer >= 1. INVALID_ARGUMENT names the value that does
  // not fit.
  static absl::StatusOr<KvCacheLayout> Nhd(DType dtype, int64_t block_size, int64_t num_kv_heads,
                                           int64_t head_size);

  // The same with heads before tokens: [num_blocks, 2, num_kv_heads, block_size, head_size].
  static absl::StatusOr<KvCacheLayout> Hnd(DType dtype, int64_t block_size, int64_t num_kv_heads,
                                           int64_t head_size);

  // Seed 003's pair of tensors: keys [num_blocks, num_kv_heads, head_size / x, block_size, x],
  // values [num_blocks, num_kv_heads, head_size, block_size]. In one allocation all keys stand
  // before all values. INVALID_ARGUMENT: x does not divide head_size.
  static absl::StatusOr<KvCacheLayout> SplitX(DType dtype, int64_t block_size, int64_t num_kv_heads,
                                              int64_t head_size, int64_t x);

  // Plain tensors [tokens, num_kv_heads, head_size] seen as a cache of blocks of one token; the
  // strides are those of the tensors. A block id is a row.
  static absl::StatusOr<KvCacheLayout> Rows(DType dtype, int64_t num_kv_heads, int64_t head_size,
                                            int64_t key_row_stride, int64_t key_head_stride,
                                            int64_t value_row_stride, int64_t value_head_stride);

  // Any strides, keys and values apart; `bytes_per_block` is what one block takes of an allocation
  // made by OneAllocation (0: the layout has no such allocation) and `value_offset` the elements
  // from a block's first key to its first value there. INVALID_ARGUMENT: a stride that makes two
  // (token, head, run of dimensions) of a block overlap.
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
  // In one allocation all keys stand before all values (then value_offset() is 0).
  bool values_follow_keys() const { return values_follow_keys_; }
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
  bool values_follow_keys_ = false;
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

  // The block whose first key stands at byte address `key_address` (seed 003, is_block_table_ptr:
  // block tables of addresses). INVALID_ARGUMENT: an address inside no segment, or not at the
  // beginning of a block.
  absl::StatusOr<int32_t> BlockOfAddress(uint64_t key_address) const;

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

// The block ids of a table of addresses, for Request::block_ids. The error of BlockOfAddress names
// the column too.
absl::StatusOr<std::vector<int32_t>> BlocksOfAddresses(const KvCacheView& cache,
                                                       absl::Span<const uint64_t> key_addresses);

}  // namespace weft

#endif  // WEFT_CORE_KV_CACHE_H_
