// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/schedule.h"

#include <algorithm>

#include "cuda/kernels/attention/config.h"

namespace weft::cuda {
namespace {

// Single splits at the end, in rounds of all blocks that the device holds: short work evens out
// when the multiprocessors finish. Measured on an H200.
constexpr int64_t kRoundsOfSingles = 2;

}  // namespace

DecodeSchedule ScheduleDecode(const DecodeDevice& device, const DecodeWorkload& work) {
  DecodeSchedule schedule;
  // Few warps to a granule make the best of the memory; more are done sooner, where there are too
  // few granules to keep the device busy.
  schedule.warps = device.min_warps;
  while (schedule.warps < device.max_warps && work.splits * work.blocks_of_split * schedule.warps <
                                                  int64_t{2} * device.multiprocessors) {
    schedule.warps *= 2;
  }
  if (schedule.warps == device.min_warps) {
    const int64_t at_once = int64_t{device.blocks_of_multiprocessor} * device.multiprocessors;
    const int64_t singles = kRoundsOfSingles * at_once / work.blocks_of_split;
    // Folding costs shared memory; it has to be worth it.
    if (work.splits > 2 * singles) schedule.long_units = (work.splits - singles) / kFoldedGranules;
  }
  schedule.blocks =
      (work.splits - schedule.long_units * (kFoldedGranules - 1)) * work.blocks_of_split;
  return schedule;
}

}  // namespace weft::cuda
