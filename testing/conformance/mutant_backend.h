// SPDX-License-Identifier: Apache-2.0
//
// A backend with a planted fault, to see the checks fail: the reference backend, but for one
// operation, which is done here on host memory, and wrongly.
#ifndef WEFT_TESTING_CONFORMANCE_MUTANT_BACKEND_H_
#define WEFT_TESTING_CONFORMANCE_MUTANT_BACKEND_H_

#include <memory>
#include <string_view>
#include <vector>

#include "core/backend.h"
#include "core/queue.h"

namespace weft::testing {

enum class Fault : int {
  kNone,  // the operations as done here, without a fault: must pass everything

  // Attention: keys.
  kDropFirstKey,
  kDropOwnKey,
  kDropPreviousKey,
  kDropPageStart,     // of the row's own page
  kDropPageEnd,       // the last key of the page before
  kDropGranuleStart,  // of every granule but the first
  kDropGranuleEnd,
  kDropLastGranule,  // if there is more than one
  kSeeNextKey,
  kForeignKey,  // key 0 comes from the next block of the table
  kWrongKvHead,
  kWrongScale,

  // Attention: rows.
  kSwapRows,    // of a tile
  kSwapChunks,  // the positions of two tiles of a request
  kLeakNan,     // from one row of a tile into the next
  kBase2Lse,
  kPackedLse,  // strides of the LSE ignored
  kPaddingUnwritten,
  kPaddingLseZero,
  kExtraRow,
  kTouchCache,

  // Attention: results that depend on what they must not depend on, by one bit.
  kTileDependent,
  kPageDependent,
  kRowDependent,
  kBlockSizeDependent,

  // ReshapeAndCache.
  kWriteSkipped,  // slot -1 becomes slot 0
  kNextSlot,
  kBadSlotClamped,
  kSwapKeyValue,
  kSwapTokens,
  kPackedKey,  // strides of key and value ignored
  kExtraToken,
  kFirstSegmentOnly,
  kDropLastElement,

  // GatherRows.
  kNoFill,
  kZeroFill,
  kNextRow,
  kBadIndexClamped,
  kWholeWords,  // rows rounded up to 4 bytes
  kPackedDestination,

  // The queue.
  kEagerCopy,
  kShortCopy,
  kShortFill,
  kStaleTables,  // what the host writes a second time to an address does not arrive
};

// `reference` is reference:0. Everything lives as long as it is used.
std::shared_ptr<Backend> MakeMutant(std::shared_ptr<Backend> reference, Fault fault);

// The three operations on host memory, with a fault. The arguments are valid.
void RunMutantAttention(const AttentionArgs& args, Fault fault);
void RunMutantReshape(const ReshapeAndCacheArgs& args, Fault fault);
void RunMutantGather(const GatherRowsArgs& args, Fault fault);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_MUTANT_BACKEND_H_
