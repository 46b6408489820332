// SPDX-License-Identifier: Apache-2.0
//
// HostArena: pieces of mapped device memory for one stream, each held until the submission that
// uses it is done. Grows by chunks as work piles up, and keeps some of them.
#ifndef WEFT_VULKAN_RUNTIME_HOST_ARENA_H_
#define WEFT_VULKAN_RUNTIME_HOST_ARENA_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "vulkan/runtime/memory.h"

namespace weft::vulkan {

class HostArena {
 public:
  struct Slice {
    const DeviceMemory* memory = nullptr;
    int64_t offset = 0;  // from memory->address()
    int64_t bytes = 0;

    uint8_t* data() const { return memory->data() + offset; }
    uint64_t address() const { return memory->address() + static_cast<uint64_t>(offset); }
  };

  // Chunks of `chunk_bytes`; up to `keep_bytes` of idle ones are kept.
  HostArena(Device& device, MemoryKind kind, int64_t chunk_bytes, int64_t keep_bytes)
      : device_(device), kind_(kind), chunk_bytes_(chunk_bytes), keep_bytes_(keep_bytes) {}

  // bytes <= chunk_bytes, 16-byte aligned; not handed out again before Recycle(serial) or later.
  // Serials never fall.
  absl::StatusOr<Slice> Take(int64_t bytes, uint64_t serial);

  // All work up to and with `completed` is done.
  void Recycle(uint64_t completed);

  int64_t chunk_bytes() const { return chunk_bytes_; }
  int64_t num_chunks() const { return static_cast<int64_t>(chunks_.size()); }

 private:
  struct Chunk {
    std::unique_ptr<DeviceMemory> memory;
    int64_t used = 0;
    uint64_t last_serial = 0;
  };

  Device& device_;
  MemoryKind kind_;
  int64_t chunk_bytes_;
  int64_t keep_bytes_;
  std::vector<Chunk> chunks_;  // the last one in which something fits is being filled
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_RUNTIME_HOST_ARENA_H_
