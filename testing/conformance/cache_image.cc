// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/cache_image.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"
#include "testing/device_io.h"

namespace weft::testing {
namespace {

// A multiple of every alignment that a kernel may want.
constexpr int64_t kGuardBytes = 256;

int64_t AlignUp(int64_t bytes) { return CeilDiv(bytes, kGuardBytes) * kGuardBytes; }

}  // namespace

absl::StatusOr<CacheImage> CacheImage::Create(const KvCacheLayout& layout, int64_t num_blocks,
                                              int64_t num_segments) {
  CacheImage image;
  image.layout_ = layout;
  image.num_blocks_ = num_blocks;
  image.blocks_per_segment_ = CeilDiv(num_blocks, num_segments);
  image.key_offset_ = kGuardBytes;
  ASSIGN_OR_RETURN(const int64_t key_bytes, layout.KeySpanBytes(image.blocks_per_segment_));
  ASSIGN_OR_RETURN(const int64_t value_bytes, layout.ValueSpanBytes(image.blocks_per_segment_));
  // A layout without an allocation of its own has keys and values apart.
  image.value_offset_ = image.key_offset_ + (layout.bytes_per_block() > 0
                                                 ? layout.value_offset() * SizeOf(layout.dtype())
                                                 : AlignUp(key_bytes) + kGuardBytes);
  const int64_t end = std::max(image.key_offset_ + key_bytes, image.value_offset_ + value_bytes);
  for (int64_t block = 0; block < num_blocks; block += image.blocks_per_segment_) {
    Segment segment;
    segment.num_blocks = std::min(image.blocks_per_segment_, num_blocks - block);
    segment.bytes = PoisonBytes(AlignUp(end) + kGuardBytes);
    image.segments_.push_back(std::move(segment));
  }
  return image;
}

void CacheImage::Set(int64_t slot, int64_t offset, const KvStrides& strides,
                     absl::Span<const uint8_t> row) {
  const int64_t block = slot / layout_.block_size();
  Segment& segment = segments_[block / blocks_per_segment_];
  const int64_t size = SizeOf(layout_.dtype());
  const int64_t token =
      block % blocks_per_segment_ * strides.block + slot % layout_.block_size() * strides.token;
  const int64_t head_bytes = layout_.head_size() * size;
  for (int64_t head = 0; head < layout_.num_kv_heads(); ++head) {
    std::memcpy(&segment.bytes[offset + (token + head * strides.head) * size],
                &row[head * head_bytes], static_cast<size_t>(head_bytes));
  }
}

void CacheImage::SetKey(int64_t slot, absl::Span<const uint8_t> row) {
  Set(slot, key_offset_, layout_.key_strides(), row);
}

void CacheImage::SetValue(int64_t slot, absl::Span<const uint8_t> row) {
  Set(slot, value_offset_, layout_.value_strides(), row);
}

absl::StatusOr<KvCacheView> CacheImage::ToDevice(Backend& backend, Queue& queue) {
  std::vector<KvSegment> views;
  for (Segment& segment : segments_) {
    ASSIGN_OR_RETURN(segment.buffer, Upload(backend, queue, segment.bytes));
    const uint64_t base = segment.buffer->address();
    views.push_back({base + static_cast<uint64_t>(key_offset_),
                     base + static_cast<uint64_t>(value_offset_), segment.num_blocks});
  }
  return KvCacheView::Create(layout_, backend.device(), views);
}

std::string CacheImage::Place(size_t segment, int64_t at) const {
  const int64_t size = SizeOf(layout_.dtype());
  for (const auto& [name, offset, strides] :
       {std::tuple("key", key_offset_, layout_.key_strides()),
        std::tuple("value", value_offset_, layout_.value_strides())}) {
    for (int64_t block = 0; block < segments_[segment].num_blocks; ++block) {
      for (int64_t token = 0; token < layout_.block_size(); ++token) {
        for (int64_t head = 0; head < layout_.num_kv_heads(); ++head) {
          const int64_t begin =
              offset + (block * strides.block + token * strides.token + head * strides.head) * size;
          if (at < begin || at >= begin + layout_.head_size() * size) continue;
          const int64_t slot =
              (static_cast<int64_t>(segment) * blocks_per_segment_ + block) * layout_.block_size() +
              token;
          return absl::StrCat(name, " of slot ", slot, ", head ", head, ", dimension ",
                              (at - begin) / size);
        }
      }
    }
  }
  return absl::StrCat("byte ", at, " of segment ", segment, ", between the slots");
}

absl::Status CacheImage::CheckDevice(Queue& queue) const {
  for (size_t s = 0; s < segments_.size(); ++s) {
    const std::vector<uint8_t>& expected = segments_[s].bytes;
    ASSIGN_OR_RETURN(
        const std::vector<uint8_t> actual,
        Download(queue, segments_[s].buffer->address(), static_cast<int64_t>(expected.size())));
    const auto [at, end] = std::mismatch(actual.begin(), actual.end(), expected.begin());
    if (at == actual.end()) continue;
    const int64_t place = at - actual.begin();
    return absl::FailedPreconditionError(absl::StrCat(
        "the cache is not what it must be: ", Place(s, place), " has byte 0x",
        absl::Hex(*at, absl::kZeroPad2), ", expected 0x", absl::Hex(*end, absl::kZeroPad2)));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
