// SPDX-License-Identifier: Apache-2.0
//
// DcpShard: who holds which token of a sequence under decode context parallelism (docs/pcp_spec.md,
// 11). Tokens are dealt to `world` ranks in runs of `interleave`: token p belongs to rank (p /
// interleave) mod world. A rank's tokens lie densely in its cache, so that a block of a rank holds
// block_size of them, and a block table's column stands for block_size * world tokens of the
// sequence.
#ifndef WEFT_CORE_DCP_SHARD_H_
#define WEFT_CORE_DCP_SHARD_H_

#include <cstdint>

#include "absl/status/status.h"

namespace weft {

struct DcpShard {
  int64_t world = 1;
  int64_t rank = 0;
  int64_t interleave = 1;

  // INVALID_ARGUMENT: world or interleave < 1, a rank outside the world, or a block size (if > 0)
  // that is no multiple of the interleave.
  absl::Status Validate(int64_t block_size) const;

  int64_t OwnerOf(int64_t position) const { return position / interleave % world; }
  bool Owns(int64_t position) const { return OwnerOf(position) == rank; }

  // The place of an owned token among the rank's tokens.
  int64_t LocalIndex(int64_t position) const {
    return position / (world * interleave) * interleave + position % interleave;
  }
  // The inverse. A negative index gives -1.
  int64_t Position(int64_t local_index) const {
    if (local_index < 0) return -1;
    return local_index / interleave * (interleave * world) + rank * interleave +
           local_index % interleave;
  }
  // How many of the first `length` tokens the rank holds; so many keys a row at position length - 1
  // sees here.
  int64_t LocalLength(int64_t length) const;
};

inline bool operator==(const DcpShard& a, const DcpShard& b) {
  return a.world == b.world && a.rank == b.rank && a.interleave == b.interleave;
}

}  // namespace weft

#endif  // WEFT_CORE_DCP_SHARD_H_
