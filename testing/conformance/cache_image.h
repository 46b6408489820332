// SPDX-License-Identifier: Apache-2.0
//
// CacheImage: a paged KV cache as the host holds it, poisoned where no token is, in one or more
// segments. The same object says what the device's memory must hold afterwards, to the last byte.
#ifndef WEFT_TESTING_CONFORMANCE_CACHE_IMAGE_H_
#define WEFT_TESTING_CONFORMANCE_CACHE_IMAGE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "testing/conformance/placed_memory.h"

namespace weft::testing {

struct CacheOptions {
  int64_t segments = 1;  // at most so many allocations
  // Elements by which keys and values stand off an aligned address.
  int64_t offset = 0;
  // With guarded pages there is nothing before the first key and nothing behind the last value.
  Place place = Place::kDevice;
  // The view on it begins so many blocks before the first real one (of one segment), far away in
  // memory that nobody has: block ids count from there. An offset of 32 bits does not find the way
  // back.
  int64_t bias = 0;
};

class CacheImage {
 public:
  static absl::StatusOr<CacheImage> Create(const KvCacheLayout& layout, int64_t num_blocks,
                                           const CacheOptions& options);

  const KvCacheLayout& layout() const { return layout_; }
  int64_t num_blocks() const { return num_blocks_; }
  int64_t num_slots() const { return num_blocks_ * layout_.block_size(); }

  // The heads of one token, without gaps. Slots count from the first real block.
  void SetKey(int64_t slot, absl::Span<const uint8_t> row);
  void SetValue(int64_t slot, absl::Span<const uint8_t> row);

  // Copies the image to new memory (recorded on `queue`). Once for an image. DoesNotApply: a bias
  // on a device whose addresses leave no room for it.
  absl::StatusOr<KvCacheView> ToDevice(Backend& backend, Queue& queue);

  // FAILED_PRECONDITION if the device's memory is not this image, naming slot, head and dimension
  // of the first difference, or that it lies between the slots. Waits for the device.
  absl::Status CheckDevice(Queue& queue) const;

 private:
  // The bytes of one segment: keys from key_offset_, values from value_offset_.
  struct Segment {
    int64_t num_blocks = 0;
    std::vector<uint8_t> bytes;
    std::shared_ptr<PlacedMemory> memory;
  };

  void Set(int64_t slot, int64_t offset, const KvStrides& strides, absl::Span<const uint8_t> row);
  absl::StatusOr<KvCacheView> Biased(Backend& backend, KvSegment segment);
  // Of byte `at` of a segment.
  std::string Where(size_t segment, int64_t at) const;

  KvCacheLayout layout_;
  CacheOptions options_;
  int64_t num_blocks_ = 0;
  int64_t blocks_per_segment_ = 0;
  int64_t key_offset_ = 0;
  int64_t value_offset_ = 0;
  std::vector<Segment> segments_;
  std::vector<std::shared_ptr<Buffer>> imported_;
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_CACHE_IMAGE_H_
