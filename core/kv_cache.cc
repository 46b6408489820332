// SPDX-License-Identifier: Apache-2.0
#include "core/kv_cache.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/fingerprint.h"
#include "core/status_macros.h"

namespace weft {
namespace {

absl::Status Positive(std::string_view name, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("KV cache layout: ", name, " is ", value, ", must be >= 1"));
}

absl::Status TooLarge(std::string_view what) {
  return absl::OutOfRangeError(absl::StrCat("KV cache layout: ", what, " does not fit 63 bits"));
}

// Axes of one block: tokens, heads and runs of dimensions; the run's own dimensions are adjacent.
std::array<std::pair<int64_t, int64_t>, 3> AxesOf(const KvStrides& strides, int64_t block_size,
                                                  int64_t num_kv_heads, int64_t head_size) {
  const int64_t inner = strides.inner == 0 ? head_size : strides.inner;
  return {{{strides.token, block_size},
           {strides.head, num_kv_heads},
           {strides.split, CeilDiv(head_size, inner)}}};
}

// Within one block no two (token, head, run) may share an element: sorted by stride, each axis must
// step over all that the axes below it reach.
absl::Status CheckDisjoint(std::string_view which, const KvStrides& strides, int64_t block_size,
                           int64_t num_kv_heads, int64_t head_size) {
  if (strides.inner < 0 || strides.inner > head_size ||
      (strides.inner > 0 && head_size % strides.inner != 0)) {
    return absl::InvalidArgumentError(absl::StrCat("KV cache layout: ", which,
                                                   " dimensions in runs of ", strides.inner,
                                                   ", must divide the head size ", head_size));
  }
  auto axes = AxesOf(strides, block_size, num_kv_heads, head_size);
  std::sort(axes.begin(), axes.end());
  int64_t reach = strides.inner == 0 ? head_size : strides.inner;
  for (const auto& [stride, extent] : axes) {
    if (extent == 1) continue;
    if (stride < reach) {
      return absl::InvalidArgumentError(absl::StrCat(
          "KV cache layout: ", which, " strides token ", strides.token, ", head ", strides.head,
          strides.inner > 0 ? absl::StrCat(", split ", strides.split) : "", " make rows of ",
          head_size, " elements overlap"));
    }
    const std::optional<int64_t> step = CheckedMul(stride, extent - 1);
    const std::optional<int64_t> sum = step ? CheckedAdd(*step, reach) : std::nullopt;
    if (!sum) return TooLarge("a block");
    reach = *sum;
  }
  if (strides.block < 0) {
    return absl::InvalidArgumentError(absl::StrCat("KV cache layout: ", which, " block stride is ",
                                                   strides.block, ", must be >= 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> SpanBytes(const KvStrides& strides, int64_t num_blocks,
                                  const KvCacheLayout& layout) {
  if (num_blocks <= 0) return 0;
  std::optional<int64_t> elements = strides.inner == 0 ? layout.head_size() : strides.inner;
  const auto add = [&](int64_t stride, int64_t extent) {
    const std::optional<int64_t> reach = CheckedMul(stride, extent - 1);
    elements = reach && elements ? CheckedAdd(*elements, *reach) : std::nullopt;
  };
  add(strides.block, num_blocks);
  for (const auto& [stride, extent] :
       AxesOf(strides, layout.block_size(), layout.num_kv_heads(), layout.head_size())) {
    add(stride, extent);
  }
  if (!elements) return TooLarge("the cache");
  const std::optional<int64_t> bytes = CheckedMul(*elements, SizeOf(layout.dtype()));
  if (!bytes) return TooLarge("the cache");
  return *bytes;
}

}  // namespace

namespace {

// Elements of a head, of a token (or head) of all heads (or tokens), of a block's keys, of a block.
struct BlockSizes {
  int64_t keys = 0;
  int64_t block = 0;
  int64_t bytes = 0;
};

absl::StatusOr<BlockSizes> SizesOf(DType dtype, int64_t block_size, int64_t num_kv_heads,
                                   int64_t head_size) {
  RETURN_IF_ERROR(Positive("block size", block_size));
  RETURN_IF_ERROR(Positive("number of KV heads", num_kv_heads));
  RETURN_IF_ERROR(Positive("head size", head_size));
  const std::optional<int64_t> token = CheckedMul(num_kv_heads, head_size);
  const std::optional<int64_t> keys = token ? CheckedMul(*token, block_size) : std::nullopt;
  const std::optional<int64_t> block = keys ? CheckedMul(*keys, 2) : std::nullopt;
  const std::optional<int64_t> bytes = block ? CheckedMul(*block, SizeOf(dtype)) : std::nullopt;
  if (!bytes) return TooLarge("a block");
  return BlockSizes{*keys, *block, *bytes};
}

}  // namespace

absl::StatusOr<KvCacheLayout> KvCacheLayout::Nhd(DType dtype, int64_t block_size,
                                                 int64_t num_kv_heads, int64_t head_size) {
  ASSIGN_OR_RETURN(const BlockSizes sizes, SizesOf(dtype, block_size, num_kv_heads, head_size));
  const KvStrides strides = {sizes.block, num_kv_heads * head_size, head_size};
  return Strided(dtype, block_size, num_kv_heads, head_size, strides, strides, sizes.keys,
                 sizes.bytes);
}

absl::StatusOr<KvCacheLayout> KvCacheLayout::Hnd(DType dtype, int64_t block_size,
                                                 int64_t num_kv_heads, int64_t head_size) {
  ASSIGN_OR_RETURN(const BlockSizes sizes, SizesOf(dtype, block_size, num_kv_heads, head_size));
  const KvStrides strides = {sizes.block, head_size, block_size * head_size};
  return Strided(dtype, block_size, num_kv_heads, head_size, strides, strides, sizes.keys,
                 sizes.bytes);
}

absl::StatusOr<KvCacheLayout> KvCacheLayout::SplitX(DType dtype, int64_t block_size,
                                                    int64_t num_kv_heads, int64_t head_size,
                                                    int64_t x) {
  ASSIGN_OR_RETURN(const BlockSizes sizes, SizesOf(dtype, block_size, num_kv_heads, head_size));
  RETURN_IF_ERROR(Positive("x", x));
  const KvStrides key = {sizes.keys, x, block_size * head_size, x, block_size * x};
  const KvStrides value = {sizes.keys, 1, block_size * head_size, 1, block_size};
  ASSIGN_OR_RETURN(KvCacheLayout layout, Strided(dtype, block_size, num_kv_heads, head_size, key,
                                                 value, /*value_offset=*/0, sizes.bytes));
  layout.values_follow_keys_ = true;
  return layout;
}

absl::StatusOr<KvCacheLayout> KvCacheLayout::Rows(DType dtype, int64_t num_kv_heads,
                                                  int64_t head_size, int64_t key_row_stride,
                                                  int64_t key_head_stride, int64_t value_row_stride,
                                                  int64_t value_head_stride) {
  const KvStrides key = {key_row_stride, 0, key_head_stride};
  const KvStrides value = {value_row_stride, 0, value_head_stride};
  return Strided(dtype, /*block_size=*/1, num_kv_heads, head_size, key, value, /*value_offset=*/0,
                 /*bytes_per_block=*/0);
}

absl::StatusOr<KvCacheLayout> KvCacheLayout::Strided(DType dtype, int64_t block_size,
                                                     int64_t num_kv_heads, int64_t head_size,
                                                     KvStrides key, KvStrides value,
                                                     int64_t value_offset,
                                                     int64_t bytes_per_block) {
  RETURN_IF_ERROR(Positive("block size", block_size));
  RETURN_IF_ERROR(Positive("number of KV heads", num_kv_heads));
  RETURN_IF_ERROR(Positive("head size", head_size));
  if (!IsFloat(dtype) && !IsFp8(dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV cache layout: dtype is ", Name(dtype), ", not a float or fp8 type"));
  }
  // Slots are numbered by one int64 over all blocks that an int32 block id can name.
  if (block_size > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV cache layout: block size is ", block_size, ", must be below 2^31"));
  }
  RETURN_IF_ERROR(CheckDisjoint("key", key, block_size, num_kv_heads, head_size));
  RETURN_IF_ERROR(CheckDisjoint("value", value, block_size, num_kv_heads, head_size));
  if (value_offset < 0 || bytes_per_block < 0) {
    return absl::InvalidArgumentError(absl::StrCat("KV cache layout: value offset ", value_offset,
                                                   " and bytes per block ", bytes_per_block,
                                                   " must be >= 0"));
  }
  KvCacheLayout layout;
  layout.dtype_ = dtype;
  layout.block_size_ = block_size;
  layout.num_kv_heads_ = num_kv_heads;
  layout.head_size_ = head_size;
  layout.key_ = key;
  layout.value_ = value;
  layout.value_offset_ = value_offset;
  layout.bytes_per_block_ = bytes_per_block;
  return layout;
}

absl::StatusOr<int64_t> KvCacheLayout::KeySpanBytes(int64_t num_blocks) const {
  return SpanBytes(key_, num_blocks, *this);
}

absl::StatusOr<int64_t> KvCacheLayout::ValueSpanBytes(int64_t num_blocks) const {
  return SpanBytes(value_, num_blocks, *this);
}

uint64_t KvCacheLayout::fingerprint() const {
  Fingerprint print;
  print.Add(dtype_).Add(block_size_).Add(num_kv_heads_).Add(head_size_);
  for (const KvStrides& strides : {key_, value_})
    print.Add(strides.block)
        .Add(strides.token)
        .Add(strides.head)
        .Add(strides.inner)
        .Add(strides.inner == 0 ? 0 : strides.split);
  return print.value();
}

std::string KvCacheLayout::ToString() const {
  return absl::StrCat("KV ", Name(dtype_), ", block size ", block_size_, ", ", num_kv_heads_,
                      " heads of ", head_size_);
}

absl::StatusOr<KvCacheView> KvCacheView::Create(const KvCacheLayout& layout, DeviceId device,
                                                absl::Span<const KvSegment> segments) {
  KvCacheView view;
  view.layout_ = layout;
  view.device_ = device;
  const uint64_t size = static_cast<uint64_t>(SizeOf(layout.dtype()));
  for (size_t i = 0; i < segments.size(); ++i) {
    const KvSegment& segment = segments[i];
    const bool last = i + 1 == segments.size();
    const auto error = [i](auto... text) {
      return absl::InvalidArgumentError(absl::StrCat("KV cache: segment ", i, " ", text...));
    };
    if (segment.num_blocks < 1) return error("has ", segment.num_blocks, " blocks, must be >= 1");
    if (!last && segment.num_blocks != segments[0].num_blocks) {
      return error("has ", segment.num_blocks, " blocks, the first has ", segments[0].num_blocks,
                   "; all but the last must be alike");
    }
    if (last && segment.num_blocks > segments[0].num_blocks) {
      return error("has ", segment.num_blocks, " blocks, more than the first with ",
                   segments[0].num_blocks);
    }
    if (segment.key_base == 0 || segment.value_base == 0) return error("has a null address");
    if (segment.key_base % size != 0 || segment.value_base % size != 0) {
      return error("is not aligned to ", size, " bytes, the size of ", Name(layout.dtype()));
    }
    RETURN_IF_ERROR(layout.KeySpanBytes(segment.num_blocks).status());
    RETURN_IF_ERROR(layout.ValueSpanBytes(segment.num_blocks).status());
    view.num_blocks_ += segment.num_blocks;
    view.segments_.push_back(segment);
  }
  if (view.num_blocks_ > std::numeric_limits<int32_t>::max()) {
    return absl::OutOfRangeError(
        absl::StrCat("KV cache: ", view.num_blocks_, " blocks, block ids are int32"));
  }
  return view;
}

absl::StatusOr<KvCacheView> KvCacheView::OneAllocation(const KvCacheLayout& layout,
                                                       uint64_t address, int64_t num_blocks,
                                                       DeviceId device) {
  if (layout.bytes_per_block() == 0) {
    return absl::InvalidArgumentError("KV cache: this strided layout names its segments itself");
  }
  std::optional<int64_t> elements = layout.value_offset();
  if (layout.values_follow_keys()) elements = CheckedMul(layout.key_strides().block, num_blocks);
  const std::optional<int64_t> offset =
      elements ? CheckedMul(*elements, SizeOf(layout.dtype())) : std::nullopt;
  if (!offset) return TooLarge("the cache");
  const uint64_t value = address + static_cast<uint64_t>(*offset);
  const KvSegment segment = {address, value, num_blocks};
  return Create(layout, device, absl::MakeConstSpan(&segment, 1));
}

absl::StatusOr<int32_t> KvCacheView::BlockOfAddress(uint64_t key_address) const {
  const auto stride = static_cast<uint64_t>(layout_.key_strides().block * SizeOf(layout_.dtype()));
  int64_t first = 0;
  for (const KvSegment& segment : segments_) {
    const uint64_t offset = key_address - segment.key_base;
    const bool inside =
        key_address >= segment.key_base &&
        (stride == 0 ? offset == 0 : offset / stride < static_cast<uint64_t>(segment.num_blocks));
    if (inside) {
      if (stride == 0) return static_cast<int32_t>(first);
      if (offset % stride != 0) {
        return absl::InvalidArgumentError(absl::StrCat("KV cache: address 0x",
                                                       absl::Hex(key_address), " is ",
                                                       offset % stride, " bytes inside a block"));
      }
      return static_cast<int32_t>(first + static_cast<int64_t>(offset / stride));
    }
    first += segment.num_blocks;
  }
  return absl::InvalidArgumentError(absl::StrCat("KV cache: address 0x", absl::Hex(key_address),
                                                 " is inside none of ", segments_.size(),
                                                 " segments with ", num_blocks_, " blocks"));
}

absl::StatusOr<std::vector<int32_t>> BlocksOfAddresses(const KvCacheView& cache,
                                                       absl::Span<const uint64_t> key_addresses) {
  std::vector<int32_t> blocks;
  blocks.reserve(key_addresses.size());
  for (size_t column = 0; column < key_addresses.size(); ++column) {
    const absl::StatusOr<int32_t> block = cache.BlockOfAddress(key_addresses[column]);
    if (!block.ok()) {
      return absl::Status(block.status().code(), absl::StrCat("block table column ", column, ": ",
                                                              block.status().message()));
    }
    blocks.push_back(*block);
  }
  return blocks;
}

}  // namespace weft
