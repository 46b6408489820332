// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/faults.h"

#include "absl/strings/str_cat.h"

namespace weft::testing {
namespace {

using F = Fault;
constexpr std::string_view kAttention = "Attention";
constexpr std::string_view kCases = "attention cases";
constexpr std::string_view kReshape = "ReshapeAndCache";
constexpr std::string_view kReshapeCases = "reshape cases";
constexpr std::string_view kMerge = "MergeStates";
constexpr std::string_view kMergeCases = "merge cases";
constexpr std::string_view kCorrect = "CorrectAttnOut";
constexpr std::string_view kCorrectCases = "correct cases";
constexpr std::string_view kQuantize = "QuantizeFp8";
constexpr std::string_view kQuantizeCases = "quantize cases";
constexpr std::string_view kGather = "GatherRows";
constexpr std::string_view kGatherCases = "gather cases";

constexpr NamedFault kFaults[] = {
    {F::kDropFirstKey, kAttention, "drops key 0", kCases},
    {F::kDropOwnKey, kAttention, "drops the row's own key", kCases},
    {F::kDropPreviousKey, kAttention, "drops the key before the row's own", kCases},
    {F::kDropPageStart, kAttention, "drops the first key of the row's page", kCases},
    {F::kDropPageEnd, kAttention, "drops the last key of the page before", kCases},
    {F::kDropGranuleStart, kAttention, "drops the first key of a granule", kCases, "ctx=600"},
    {F::kDropGranuleEnd, kAttention, "drops the last key of a granule", kCases, "ctx=600"},
    {F::kDropLastGranule, kAttention, "drops the last granule", kCases, "ctx=600"},
    {F::kSeeNextKey, kAttention, "sees one key too many", kCases},
    {F::kForeignKey, kAttention, "takes key 0 from the table's next block", kCases},
    {F::kLeakPage, kAttention, "reads the last page to its end", kCases},
    {F::kWrongKvHead, kAttention, "maps query heads to KV heads in turn", kCases},
    {F::kIgnoreWindow, kAttention, "ignores the window", kCases, "window="},
    {F::kWindowLong, kAttention, "has a window one key too long", kCases, "window="},
    {F::kWindowShort, kAttention, "has a window one key too short", kCases, "window="},
    {F::kIgnoreNumKeys, kAttention, "sees new keys with KeyScope::kContext", kCases,
     "keys=context"},
    {F::kOffset32, kAttention, "computes offsets into the cache in 32 bits", kCases, "bias="},
    {F::kAdjacentDims, kAttention, "takes the dimensions of a head for adjacent", kCases,
     "layout=x"},
    {F::kWrongScale, kAttention, "has a scale that is 0.1 % off", kCases},
    {F::kIgnoreSoftcap, kAttention, "ignores the softcap", kCases, "softcap="},
    {F::kSoftcapAfterBias, kAttention, "caps after the ALiBi bias", kCases, "alibi=some"},
    {F::kIgnoreAlibi, kAttention, "ignores ALiBi", kCases, "alibi=some"},
    {F::kAlibiSign, kAttention, "adds the ALiBi bias with the other sign", kCases, "alibi=some"},
    {F::kAlibiAbsolute, kAttention, "takes slope * k_pos for the bias: only the LSE shows it",
     kCases, "alibi=some"},
    {F::kIgnoreSinks, kAttention, "ignores sinks", kCases, "sinks=some"},
    {F::kSinkTwice, kAttention, "counts a sink twice", kCases, "sinks=some"},
    {F::kSinkInPartial, kAttention, "counts the sink in a partial state", kCases, "keys=context"},
    {F::kSinkInLse, kAttention, "counts the sink in the LSE", kCases, "sinks=some"},
    {F::kIgnoreKeyScale, kAttention, "ignores k_scales", kCases, "scales="},
    {F::kIgnoreValueScale, kAttention, "ignores v_scales", kCases, "scales="},
    {F::kScaleOfFirstHead, kAttention, "takes the scale of head 0 for all heads", kCases,
     "scales=head"},
    {F::kSwapScales, kAttention, "takes k_scales for values and v_scales for keys", kCases,
     "scales="},
    {F::kOtherFp8, kAttention, "reads f8e5m2 as f8e4m3", kCases, "kv=f8e5m2"},
    {F::kFiniteInfinity, kAttention, "reads the infinities of f8e5m2 as numbers", "all_codes"},
    {F::kSwapRows, kAttention, "swaps rows of a tile", kCases},
    {F::kSwapChunks, kAttention, "swaps the positions of two tiles", kCases},
    {F::kLeakNan, kAttention, "leaks a NaN from one row of a tile into the one before", kCases,
     "nan="},
    {F::kBase2Lse, kAttention, "gives the LSE in base 2", kCases},
    {F::kPackedLse, kAttention, "ignores the strides of the LSE", kCases, "lse=strided"},
    {F::kPaddingUnwritten, kAttention, "leaves padding rows unwritten", kCases, "pcp="},
    {F::kPaddingLseZero, kAttention, "writes 0 as the LSE of padding rows", kCases, "pcp="},
    {F::kExtraRow, kAttention, "writes a row past the last", kCases},
    {F::kTouchCache, kAttention, "writes to the cache", kCases},
    {F::kRunFillers, kAttention, "computes entries that only fill up a table", "padded"},
    {F::kIgnoreOutScale, kAttention, "ignores out_scale", kCases, "out=f8e4m3"},
    {F::kOutOverflow, kAttention, "does not saturate an fp8 output", kCases, "out=f8e4m3"},
    {F::kOutTruncate, kAttention, "rounds an fp8 output towards zero", kCases, "out=f8e4m3"},
    {F::kTileDependent, kAttention, "depends on the rows of a tile, by a bit", "chunks"},
    {F::kPageDependent, kAttention, "depends on page numbers, by a bit", "pages"},
    {F::kRowDependent, kAttention, "depends on the row's place in the batch, by a bit", "batch"},
    {F::kBlockSizeDependent, kAttention, "depends on the page size, by a bit", "page_size"},

    {F::kWriteSkipped, kReshape, "writes slot -1", kReshapeCases},
    {F::kNextSlot, kReshape, "writes the next slot", kReshapeCases},
    {F::kBadSlotClamped, kReshape, "clamps slots outside the cache", kReshapeCases, "bad="},
    {F::kSwapKeyValue, kReshape, "swaps key and value", kReshapeCases},
    {F::kSwapTokens, kReshape, "swaps tokens", kReshapeCases},
    {F::kPackedKey, kReshape, "ignores the strides of key and value", kReshapeCases, "io=strided"},
    {F::kExtraToken, kReshape, "writes a token past the slots", kReshapeCases, "extra="},
    {F::kFirstSegmentOnly, kReshape, "writes all blocks to the first segment", kReshapeCases,
     "segments="},
    {F::kDropLastElement, kReshape, "drops the last element of a token", kReshapeCases},
    {F::kWriteUnscaled, kReshape, "ignores the scales", kReshapeCases, "scales="},
    {F::kWriteKeyScale, kReshape, "takes k_scales for values too", kReshapeCases, "scales="},
    {F::kWriteScaleOfFirstHead, kReshape, "takes the scale of head 0 for all heads", kReshapeCases,
     "scales=head"},
    {F::kWriteOverflow, kReshape, "does not saturate", kReshapeCases, "cache="},
    {F::kWriteTruncate, kReshape, "rounds towards zero", kReshapeCases, "cache="},
    {F::kWriteAdjacentDims, kReshape, "takes the dimensions of a head for adjacent", kReshapeCases,
     "layout=x"},
    {F::kWriteOffset32, kReshape, "computes offsets into the cache in 32 bits", kReshapeCases,
     "bias="},

    {F::kMergeBase2, kMerge, "takes LSEs for base 2", kMergeCases},
    {F::kMergeSwapped, kMerge, "swaps the weights of the two states", kMergeCases},
    {F::kMergeAverage, kMerge, "weighs both states alike", kMergeCases},
    {F::kMergeNoMaximum, kMerge, "does not subtract the maximum", kMergeCases},
    {F::kMergeLeakEmpty, kMerge, "multiplies the NaN of an empty state by 0", kMergeCases},
    {F::kMergeEmptyNan, kMerge, "gives NaN for two empty states", kMergeCases},
    {F::kMergeInfinity, kMerge, "takes an LSE of +inf for a number", kMergeCases},
    {F::kMergeIgnoreSinks, kMerge, "ignores sinks", kMergeCases, "sinks=some"},
    {F::kMergeSinkTwice, kMerge, "counts a sink twice", kMergeCases, "sinks=some"},
    {F::kMergeSinkInLse, kMerge, "counts the sink in the LSE", kMergeCases, "sinks=some"},
    {F::kMergePackedLse, kMerge, "ignores the strides of LSEs", kMergeCases, "lse=strided"},
    {F::kMergeOverflow, kMerge, "does not saturate an fp8 output", kMergeCases, "out=f8e4m3"},
    {F::kMergeOrder, kMerge, "has another last bit when the states are swapped", "merge_algebra"},

    {F::kCorrectBaseE, kCorrect, "ignores base 2", kCorrectCases, "base=2"},
    {F::kCorrectFirstRank, kCorrect, "takes the share of rank 0", kCorrectCases},
    {F::kCorrectKeepNan, kCorrect, "takes a NaN LSE for a number", kCorrectCases},
    {F::kCorrectPlusInfinity, kCorrect, "takes an LSE of +inf for a number", kCorrectCases},
    {F::kCorrectZeroTimesNan, kCorrect, "multiplies the NaN of an empty shard by 0", kCorrectCases},
    {F::kCorrectEmptyNan, kCorrect, "gives NaN where all shards are empty", kCorrectCases},
    {F::kCorrectPacked, kCorrect, "ignores strides", kCorrectCases, "io=strided"},
    {F::kCorrectIgnoreSinks, kCorrect, "ignores sinks", kCorrectCases, "sinks=some"},
    {F::kCorrectSinkInLse, kCorrect, "counts the sink in the LSE", kCorrectCases, "sinks=some"},

    {F::kQuantizeOverflow, kQuantize, "does not saturate", kQuantizeCases},
    {F::kQuantizeTruncate, kQuantize, "rounds towards zero", kQuantizeCases},
    {F::kQuantizeAwayFromZero, kQuantize, "rounds ties away from zero", kQuantizeCases},
    {F::kQuantizeFlush, kQuantize, "flushes denormals to zero", kQuantizeCases},
    {F::kQuantizeMultiply, kQuantize, "multiplies by the scale", kQuantizeCases, "scale="},
    {F::kQuantizeReciprocal, kQuantize, "multiplies by the rounded reciprocal of the scale",
     kQuantizeCases, "data=ties"},
    {F::kQuantizeFirstHead, kQuantize, "takes the scale of head 0 for all heads", kQuantizeCases,
     "scales=head"},
    {F::kQuantizePacked, kQuantize, "ignores strides", kQuantizeCases, "io=strided"},
    {F::kQuantizeNanZero, kQuantize, "stores 0 for a NaN", kQuantizeCases},

    {F::kNoFill, kGather, "leaves holes unwritten", kGatherCases},
    {F::kZeroFill, kGather, "fills with 0", kGatherCases},
    {F::kNextRow, kGather, "takes the next row", kGatherCases},
    {F::kBadIndexClamped, kGather, "clamps indices", kGatherCases, "bad="},
    {F::kWholeWords, kGather, "rounds rows up to 4 bytes", kGatherCases},
    {F::kPackedDestination, kGather, "ignores the destination's stride", kGatherCases,
     "io=strided"},

    {F::kEagerCopy, "the queue", "copies before Submit", "submit"},
    {F::kShortCopy, "the queue", "copies a byte too few", "copies"},
    {F::kShortFill, "the queue", "fills four bytes too few", "order"},
    {F::kStaleTables, "the queue", "loses what the host writes a second time to an address",
     "steps"},
};

}  // namespace

const std::vector<NamedFault>& AllFaults() {
  static const auto* const faults =
      new std::vector<NamedFault>(std::begin(kFaults), std::end(kFaults));
  return *faults;
}

std::string FaultsMarkdown() {
  std::string text =
      "# Planted faults, and what catches them\n\n"
      "A check that cannot fail is no check. `//testing/conformance:fault_test` plants each of "
      "these faults into one\noperation of a backend and runs the conformance suite over it: the "
      "named check must fail, and without a fault all\nmust pass. `X cases` are the one-line cases "
      "of an operation (testing/conformance/cases.cc), judged by float64 or to\nthe bit; the "
      "others are checks and properties of that name.\n\nThis page is generated; fault_test holds "
      "it up to date and prints it.\n\n| operation | the fault | caught by |\n|---|---|---|\n";
  for (const NamedFault& fault : AllFaults()) {
    absl::StrAppend(&text, "| ", fault.operation, " | ", fault.what, " | ", fault.caught_by,
                    " |\n");
  }
  absl::StrAppend(&text, "\n", AllFaults().size(), " faults.\n");
  return text;
}

}  // namespace weft::testing
