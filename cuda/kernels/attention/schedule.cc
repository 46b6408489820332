// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/schedule.h"

#include <algorithm>

#include "core/checked_math.h"
#include "cuda/kernels/attention/config.h"

namespace weft::cuda {
namespace {

// All measured on an H200.
//
// Granules for each place of the device up to which every block gets its share from the start: then
// nothing waits for the beginning of another block. With more of them multiprocessors drift apart;
// so a larger batch is dealt out as blocks end, in units of kLongUnit and, for the last
// kRoundsOfSingles rounds, single ones, which let the multiprocessors finish together. So are
// splits that may be fewer than the table has room for: shared out, a few would be walked by few
// blocks.
constexpr int64_t kMostShared = 10;
// Sharing out must give work to so many places of four.
constexpr int64_t kUsedOfFour = 3;
static_assert(kMostShared * 4 / kUsedOfFour + kFoldedGranules <= kMaxUnit, "lengths of units");
constexpr int64_t kLongUnit = kFoldedGranules;
constexpr int64_t kRoundsOfSingles = 2;

void CutIntoUnits(int64_t length, int64_t long_units, DecodeSchedule& schedule) {
  schedule.unit_splits = length;
  schedule.long_units = length > 1 ? long_units : 0;
}

// One unit for each place. Whole groups, where that is nearly as long: they leave fewer states.
void ShareOut(int64_t splits, int64_t units, DecodeSchedule& schedule) {
  int64_t length = CeilDiv(splits, units);
  if (length > kFoldedGranules && length % kFoldedGranules == kFoldedGranules - 1) ++length;
  CutIntoUnits(length, CeilDiv(splits, length), schedule);
}

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
    const int64_t places = int64_t{device.blocks_of_multiprocessor} * device.multiprocessors;
    const int64_t units = places / work.blocks_of_split;
    const bool fits = units * work.blocks_of_split * 4 >= places * kUsedOfFour;
    const bool few = work.splits * work.blocks_of_split <= kMostShared * places;
    if (few && fits && !work.padded) {
      ShareOut(work.splits, units, schedule);
    } else {
      const int64_t singles = kRoundsOfSingles * places / work.blocks_of_split;
      // Folding costs shared memory; it has to be worth it.
      if (work.splits > 2 * singles)
        CutIntoUnits(kLongUnit, (work.splits - singles) / kLongUnit, schedule);
    }
  }
  const int64_t in_long = std::min(work.splits, schedule.long_units * schedule.unit_splits);
  schedule.blocks = (schedule.long_units + work.splits - in_long) * work.blocks_of_split;
  return schedule;
}

}  // namespace weft::cuda
