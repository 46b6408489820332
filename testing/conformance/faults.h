// SPDX-License-Identifier: Apache-2.0
//
// What can be wrong with a backend: each fault is planted into one operation of a mutant
// (mutant_backend.h), and fault_test says which check finds it.
#ifndef WEFT_TESTING_CONFORMANCE_FAULTS_H_
#define WEFT_TESTING_CONFORMANCE_FAULTS_H_

#include <string>
#include <string_view>
#include <vector>

namespace weft::testing {

enum class Fault : int {
  kNone,  // the operations as done here, without a fault: must pass everything

  // Attention: keys.
  kDropFirstKey,
  kDropOwnKey,
  kDropPreviousKey,
  kDropPageStart,
  kDropPageEnd,
  kDropGranuleStart,
  kDropGranuleEnd,
  kDropLastGranule,
  kSeeNextKey,
  kForeignKey,
  kLeakPage,
  kWrongKvHead,
  kIgnoreWindow,
  kWindowLong,
  kWindowShort,
  kIgnoreNumKeys,
  kOffset32,
  kAdjacentDims,

  // Attention: logits.
  kWrongScale,
  kIgnoreSoftcap,
  kSoftcapAfterBias,
  kIgnoreAlibi,
  kAlibiSign,
  kAlibiAbsolute,
  kIgnoreSinks,
  kSinkTwice,
  kSinkInPartial,
  kSinkInLse,
  kIgnoreKeyScale,
  kIgnoreValueScale,
  kScaleOfFirstHead,
  kSwapScales,
  kOtherFp8,
  kFiniteInfinity,

  // Attention: rows and results.
  kSwapRows,
  kSwapChunks,
  kLeakNan,
  kBase2Lse,
  kPackedLse,
  kPaddingUnwritten,
  kPaddingLseZero,
  kExtraRow,
  kTouchCache,
  kRunFillers,
  kIgnoreOutScale,
  kOutOverflow,
  kOutTruncate,

  // Attention: results that depend on what they must not depend on, by one bit.
  kTileDependent,
  kPageDependent,
  kRowDependent,
  kBlockSizeDependent,

  // ReshapeAndCache.
  kWriteSkipped,
  kNextSlot,
  kBadSlotClamped,
  kSwapKeyValue,
  kSwapTokens,
  kPackedKey,
  kExtraToken,
  kFirstSegmentOnly,
  kDropLastElement,
  kWriteUnscaled,
  kWriteKeyScale,
  kWriteScaleOfFirstHead,
  kWriteOverflow,
  kWriteTruncate,
  kWriteAdjacentDims,
  kWriteOffset32,

  // MergeStates.
  kMergeBase2,
  kMergeSwapped,
  kMergeAverage,
  kMergeNoMaximum,
  kMergeLeakEmpty,
  kMergeEmptyNan,
  kMergeInfinity,
  kMergeIgnoreSinks,
  kMergeSinkTwice,
  kMergeSinkInLse,
  kMergePackedLse,
  kMergeOverflow,
  kMergeOrder,

  // CorrectAttnOut.
  kCorrectBaseE,
  kCorrectFirstRank,
  kCorrectKeepNan,
  kCorrectPlusInfinity,
  kCorrectZeroTimesNan,
  kCorrectEmptyNan,
  kCorrectPacked,
  kCorrectIgnoreSinks,
  kCorrectSinkInLse,

  // QuantizeFp8.
  kQuantizeOverflow,
  kQuantizeTruncate,
  kQuantizeAwayFromZero,
  kQuantizeFlush,
  kQuantizeMultiply,
  kQuantizeReciprocal,
  kQuantizeFirstHead,
  kQuantizePacked,
  kQuantizeNanZero,

  // GatherRows.
  kNoFill,
  kZeroFill,
  kNextRow,
  kBadIndexClamped,
  kWholeWords,
  kPackedDestination,

  // The queue.
  kEagerCopy,
  kShortCopy,
  kShortFill,
  kStaleTables,
};

struct NamedFault {
  Fault fault;
  std::string_view operation;
  std::string_view what;  // it does
  // What must find it: "X cases" for the cases of an operation, "X" for a check of that name, or a
  // property: then no property before that one finds it.
  std::string_view caught_by;
  // Words of a case that ought to find it, which is tried first, to save time.
  std::string_view hint = "";
};

const std::vector<NamedFault>& AllFaults();

// docs/faults.md.
std::string FaultsMarkdown();

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_FAULTS_H_
