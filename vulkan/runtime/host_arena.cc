// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/host_arena.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft::vulkan {

constexpr int64_t kSliceAlignment = 16;

absl::StatusOr<HostArena::Slice> HostArena::Take(int64_t bytes, uint64_t serial) {
  if (bytes < 0 || bytes > chunk_bytes_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a piece of ", bytes, " bytes; a chunk has ", chunk_bytes_));
  }
  // The chunk being filled stands last; behind it, idle ones are moved up when it is full.
  if (chunks_.empty() || chunks_.back().used + bytes > chunk_bytes_) {
    auto idle = std::find_if(chunks_.begin(), chunks_.end(),
                             [](const Chunk& chunk) { return chunk.used == 0; });
    if (idle != chunks_.end()) {
      std::rotate(idle, idle + 1, chunks_.end());
    } else {
      Chunk chunk;
      ASSIGN_OR_RETURN(chunk.memory, DeviceMemory::Create(device_, chunk_bytes_, kind_));
      chunks_.push_back(std::move(chunk));
    }
  }
  Chunk& chunk = chunks_.back();
  Slice slice;
  slice.memory = chunk.memory.get();
  slice.offset = chunk.used;
  slice.bytes = bytes;
  chunk.used =
      std::min(chunk_bytes_, chunk.used + CeilDiv(bytes, kSliceAlignment) * kSliceAlignment);
  chunk.last_serial = serial;
  return slice;
}

void HostArena::Recycle(uint64_t completed) {
  int64_t kept = 0;
  for (Chunk& chunk : chunks_) {
    if (chunk.last_serial > completed) continue;
    chunk.used = 0;
    if (kept < keep_bytes_) {
      kept += chunk_bytes_;
    } else {
      chunk.memory.reset();
    }
  }
  chunks_.erase(std::remove_if(chunks_.begin(), chunks_.end(),
                               [](const Chunk& chunk) { return chunk.memory == nullptr; }),
                chunks_.end());
}

}  // namespace weft::vulkan
