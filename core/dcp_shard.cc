// SPDX-License-Identifier: Apache-2.0
#include "core/dcp_shard.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace weft {

absl::Status DcpShard::Validate(int64_t block_size) const {
  if (world < 1 || interleave < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("DCP: world ", world, ", interleave ", interleave, ", must both be >= 1"));
  }
  if (rank < 0 || rank >= world) {
    return absl::InvalidArgumentError(absl::StrCat("DCP: rank ", rank, " of a group of ", world));
  }
  if (block_size > 0 && block_size % interleave != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "DCP: block size ", block_size, " is no multiple of the interleave ", interleave));
  }
  return absl::OkStatus();
}

int64_t DcpShard::LocalLength(int64_t length) const {
  const int64_t round = world * interleave;
  const int64_t rest = length % round - rank * interleave;
  return length / round * interleave + std::clamp<int64_t>(rest, 0, interleave);
}

}  // namespace weft
