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

// Within one block no two (token, head) rows may share an element: sorted by stride, each axis must
// step over all that the axes below it reach.
absl::Status CheckDisjoint(std::string_view which, const KvStrides& strides, int64_t block_size,
                           int64_t num_kv_heads, int64_t head_size) {
  std::array<std::pair<int64_t, int64_t>, 2> axes = {
      {{strides.token, block_size}, {strides.head, num_kv_heads}}};
  std::sort(axes.begin(), axes.end());
  int64_t reach = head_size;
  for (const auto& [stride, extent] : axes) {
    if (extent == 1) continue;
    if (stride < reach) {
      return absl::InvalidArgumentError(
          absl::StrCat("KV cache layout: ", which, " strides token ", strides.token, ", head ",
                       strides.head, " make rows of ", head_size, " elements overlap"));
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
  const std::pair<int64_t, int64_t> axes[] = {{strides.block, num_blocks},
                                              {strides.token, layout.block_size()},
                                              {strides.head, layout.num_kv_heads()}};
  std::optional<int64_t> elements = layout.head_size();
  for (const auto& [stride, extent] : axes) {
    const std::optional<int64_t> reach = CheckedMul(stride, extent - 1);
    elements = reach ? CheckedAdd(*elements, *reach) : std::nullopt;
    if (!elements) return TooLarge("the cache");
  }
  const std::optional<int64_t> bytes = CheckedMul(*elements, SizeOf(layout.dtype()));
  if (!bytes) return TooLarge("the cache");
  return *bytes;
}

}  // namespace

absl::StatusOr<KvCacheLayout> KvCacheLayout::Nhd(DType dtype, int64_t block_size,
                                                 int64_t num_kv_heads, int64_t head_size) {
  RETURN_IF_ERROR(Positive("block size", block_size));
  RETURN_IF_ERROR(Positive("number of KV heads", num_kv_heads));
  RETURN_IF_ERROR(Positive("head size", head_size));
  const std::optional<int64_t> token = CheckedMul(num_kv_heads, head_size);
  const std::optional<int64_t> keys = token ? CheckedMul(*token, block_size) : std::nullopt;
  const std::optional<int64_t> block = keys ? CheckedMul(*keys, 2) : std::nullopt;
  const std::optional<int64_t> bytes = block ? CheckedMul(*block, SizeOf(dtype)) : std::nullopt;
  if (!bytes) return TooLarge("a block");
  const KvStrides strides = {*block, *token, head_size};
  return Strided(dtype, block_size, num_kv_heads, head_size, strides, strides, *keys, *bytes);
}

absl::StatusOr<KvCacheLayout> KvCacheLayout::Strided(DType dtype, int64_t block_size,
                                                     int64_t num_kv_heads, int64_t head_size,
                                                     KvStrides key, KvStrides value,
                                                     int64_t value_offset,
                                                     int64_t bytes_per_block) {
  RETURN_IF_ERROR(Positive("block size", block_size));
  RETURN_IF_ERROR(Positive("number of KV heads", num_kv_heads));
  RETURN_IF_ERROR(Positive("head size", head_size));
  if (!IsFloat(dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV cache layout: dtype is ", Name(dtype), ", not a float type"));
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
    print.Add(strides.block).Add(strides.token).Add(strides.head);
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
  const uint64_t value =
      address + static_cast<uint64_t>(layout.value_offset() * SizeOf(layout.dtype()));
  const KvSegment segment = {address, value, num_blocks};
  return Create(layout, device, absl::MakeConstSpan(&segment, 1));
}

}  // namespace weft
