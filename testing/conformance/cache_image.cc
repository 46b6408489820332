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
                                              const CacheOptions& options) {
  CacheImage image;
  image.layout_ = layout;
  image.options_ = options;
  image.num_blocks_ = num_blocks;
  image.blocks_per_segment_ = CeilDiv(num_blocks, options.segments);
  const bool guarded = options.place != Place::kDevice;
  const int64_t size = SizeOf(layout.dtype());
  image.key_offset_ = guarded ? 0 : kGuardBytes + options.offset * size;
  ASSIGN_OR_RETURN(const int64_t key_bytes, layout.KeySpanBytes(image.blocks_per_segment_));
  ASSIGN_OR_RETURN(const int64_t value_bytes, layout.ValueSpanBytes(image.blocks_per_segment_));
  const bool interleaved = layout.bytes_per_block() > 0 && !layout.values_follow_keys();
  image.value_offset_ = image.key_offset_ + (interleaved ? layout.value_offset() * size
                                                         : AlignUp(key_bytes) + kGuardBytes);
  const int64_t end = std::max(image.key_offset_ + key_bytes, image.value_offset_ + value_bytes);
  for (int64_t block = 0; block < num_blocks; block += image.blocks_per_segment_) {
    Segment segment;
    segment.num_blocks = std::min(image.blocks_per_segment_, num_blocks - block);
    segment.bytes = PoisonBytes(guarded ? end : AlignUp(end) + kGuardBytes);
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
  const int64_t run = strides.inner == 0 ? layout_.head_size() : strides.inner;
  for (int64_t head = 0; head < layout_.num_kv_heads(); ++head) {
    for (int64_t d = 0; d < layout_.head_size(); d += run) {
      const int64_t element = token + head * strides.head + DimOffset(strides, d);
      std::memcpy(&segment.bytes[offset + element * size],
                  &row[(head * layout_.head_size() + d) * size], static_cast<size_t>(run * size));
    }
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
    // The addresses before a biased pool must be nobody's, and best fault.
    const bool alone = options_.bias > 0 && AddressesAreHostPointers(backend);
    const KvStrides& strides = layout_.key_strides();
    const int64_t guard = alone ? options_.bias * strides.block * SizeOf(layout_.dtype()) : 1;
    ASSIGN_OR_RETURN(segment.memory,
                     PlacedMemory::Create(backend, queue, segment.bytes,
                                          alone ? Place::kBehindGuard : options_.place, guard));
    const uint64_t base = segment.memory->address();
    views.push_back({base + static_cast<uint64_t>(key_offset_),
                     base + static_cast<uint64_t>(value_offset_), segment.num_blocks});
  }
  if (options_.bias > 0) return Biased(backend, views.front());
  return KvCacheView::Create(layout_, backend.device(), views);
}

absl::StatusOr<KvCacheView> CacheImage::Biased(Backend& backend, KvSegment segment) {
  const int64_t size = SizeOf(layout_.dtype());
  segment.num_blocks += options_.bias;
  ASSIGN_OR_RETURN(const int64_t key_bytes, layout_.KeySpanBytes(segment.num_blocks));
  ASSIGN_OR_RETURN(const int64_t value_bytes, layout_.ValueSpanBytes(segment.num_blocks));
  for (const auto& [base, strides, bytes] :
       {std::tuple(&segment.key_base, &layout_.key_strides(), key_bytes),
        std::tuple(&segment.value_base, &layout_.value_strides(), value_bytes)}) {
    const auto before = static_cast<uint64_t>(options_.bias * strides->block * size);
    if (before >= *base) {
      return DoesNotApply(absl::StrCat("biased base: memory of ", backend.info().name,
                                       " begins at 0x", absl::Hex(*base),
                                       ", which leaves no room for ", before, " bytes before it"));
    }
    *base -= before;
    ASSIGN_OR_RETURN(imported_.emplace_back(), backend.ImportRange(*base, bytes));
  }
  return KvCacheView::Create(layout_, backend.device(), absl::MakeConstSpan(&segment, 1));
}

std::string CacheImage::Where(size_t segment, int64_t at) const {
  const int64_t size = SizeOf(layout_.dtype());
  for (const auto& [name, offset, strides] :
       {std::tuple("key", key_offset_, layout_.key_strides()),
        std::tuple("value", value_offset_, layout_.value_strides())}) {
    for (int64_t block = 0; block < segments_[segment].num_blocks; ++block) {
      for (int64_t token = 0; token < layout_.block_size(); ++token) {
        for (int64_t head = 0; head < layout_.num_kv_heads(); ++head) {
          for (int64_t d = 0; d < layout_.head_size(); ++d) {
            const int64_t begin = offset + (block * strides.block + token * strides.token +
                                            head * strides.head + DimOffset(strides, d)) *
                                               size;
            if (at < begin || at >= begin + size) continue;
            const int64_t slot = (static_cast<int64_t>(segment) * blocks_per_segment_ + block) *
                                     layout_.block_size() +
                                 token;
            return absl::StrCat(name, " of slot ", slot, ", head ", head, ", dimension ", d);
          }
        }
      }
    }
  }
  return absl::StrCat("byte ", at, " of segment ", segment, ", between the slots");
}

absl::Status CacheImage::CheckDevice(Queue& queue) const {
  for (size_t s = 0; s < segments_.size(); ++s) {
    const std::vector<uint8_t>& expected = segments_[s].bytes;
    ASSIGN_OR_RETURN(const std::vector<uint8_t> actual, segments_[s].memory->Read(queue));
    const auto [at, end] = std::mismatch(actual.begin(), actual.end(), expected.begin());
    if (at == actual.end()) continue;
    const int64_t place = at - actual.begin();
    return absl::FailedPreconditionError(absl::StrCat(
        "the cache is not what it must be: ", Where(s, place), " has byte 0x",
        absl::Hex(*at, absl::kZeroPad2), ", expected 0x", absl::Hex(*end, absl::kZeroPad2)));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
