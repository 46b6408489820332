// SPDX-License-Identifier: Apache-2.0
//
// A check that cannot fail is no check: each planted fault must be found by the suite, and the same
// code without a fault must pass.
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/conformance/attention_checks.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/cases.h"
#include "testing/conformance/mutant_backend.h"
#include "testing/conformance/queue_checks.h"
#include "testing/reference/reference_backend.h"

namespace weft::testing {
namespace {

struct NamedFault {
  Fault fault;
  std::string_view name;
  // What must find it: the cases of an op, the checks of the queue, or a property, and then no
  // property before that one.
  std::string_view finder;
};

constexpr NamedFault kFaults[] = {
    {Fault::kDropFirstKey, "drop_first_key", "attention"},
    {Fault::kDropOwnKey, "drop_own_key", "attention"},
    {Fault::kDropPreviousKey, "drop_previous_key", "attention"},
    {Fault::kDropPageStart, "drop_page_start", "attention"},
    {Fault::kDropPageEnd, "drop_page_end", "attention"},
    {Fault::kDropGranuleStart, "drop_granule_start", "attention"},
    {Fault::kDropGranuleEnd, "drop_granule_end", "attention"},
    {Fault::kDropLastGranule, "drop_last_granule", "attention"},
    {Fault::kSeeNextKey, "see_next_key", "attention"},
    {Fault::kForeignKey, "foreign_key", "attention"},
    {Fault::kWrongKvHead, "wrong_kv_head", "attention"},
    {Fault::kWrongScale, "wrong_scale", "attention"},
    {Fault::kSwapRows, "swap_rows", "attention"},
    {Fault::kSwapChunks, "swap_chunks", "attention"},
    {Fault::kLeakNan, "leak_nan", "attention"},
    {Fault::kBase2Lse, "base2_lse", "attention"},
    {Fault::kPackedLse, "packed_lse", "attention"},
    {Fault::kPaddingUnwritten, "padding_unwritten", "attention"},
    {Fault::kPaddingLseZero, "padding_lse_zero", "attention"},
    {Fault::kExtraRow, "extra_row", "attention"},
    {Fault::kTouchCache, "touch_cache", "attention"},
    {Fault::kTileDependent, "tile_dependent", "chunks"},
    {Fault::kPageDependent, "page_dependent", "pages"},
    {Fault::kRowDependent, "row_dependent", "batch"},
    {Fault::kBlockSizeDependent, "block_size_dependent", "page_size"},
    {Fault::kWriteSkipped, "write_skipped", "reshape"},
    {Fault::kNextSlot, "next_slot", "reshape"},
    {Fault::kBadSlotClamped, "bad_slot_clamped", "reshape"},
    {Fault::kSwapKeyValue, "swap_key_value", "reshape"},
    {Fault::kSwapTokens, "swap_tokens", "reshape"},
    {Fault::kPackedKey, "packed_key", "reshape"},
    {Fault::kExtraToken, "extra_token", "reshape"},
    {Fault::kFirstSegmentOnly, "first_segment_only", "reshape"},
    {Fault::kDropLastElement, "drop_last_element", "reshape"},
    {Fault::kNoFill, "no_fill", "gather"},
    {Fault::kZeroFill, "zero_fill", "gather"},
    {Fault::kNextRow, "next_row", "gather"},
    {Fault::kBadIndexClamped, "bad_index_clamped", "gather"},
    {Fault::kWholeWords, "whole_words", "gather"},
    {Fault::kPackedDestination, "packed_destination", "gather"},
    {Fault::kEagerCopy, "eager_copy", "queue"},
    {Fault::kShortCopy, "short_copy", "queue"},
    {Fault::kShortFill, "short_fill", "queue"},
    {Fault::kStaleTables, "stale_tables", "steps"},
};

std::shared_ptr<Backend> Mutant(Fault fault) {
  Registry registry;
  EXPECT_TRUE(RegisterReferenceBackend(registry).ok());
  return MakeMutant(registry.Create("reference:0").value(), fault);
}

// The name of a check that fails, and its report; empty if none does.
using Failure = std::pair<std::string, std::string>;

Failure FailingCase(Backend& backend, std::string_view op) {
  for (const std::string& line : CaseLines()) {
    if (CaseOp(line) != op) continue;
    const absl::Status status = CheckCaseLine(backend, line);
    if (!status.ok()) return {std::string(op), std::string(status.message())};
  }
  return {};
}

Failure FailingProperty(Backend& backend) {
  for (const std::string& line : PropertyLines()) {
    for (const AttentionProperty& property : AttentionProperties()) {
      const absl::Status status = property.check(backend, *AttentionCase::Parse(line));
      if (!status.ok()) return {std::string(property.name), std::string(status.message())};
    }
  }
  return {};
}

Failure FailingQueueCheck(Backend& backend) {
  for (const QueueCheck& check : QueueChecks()) {
    const absl::Status status = check.check(backend);
    if (!status.ok()) return {"queue", std::string(status.message())};
  }
  return {};
}

TEST(FaultTest, WithoutAFaultEverythingPasses) {
  const std::shared_ptr<Backend> backend = Mutant(Fault::kNone);
  for (std::string_view op : {"attention", "reshape", "gather"}) {
    EXPECT_EQ(FailingCase(*backend, op), Failure());
  }
  EXPECT_EQ(FailingProperty(*backend), Failure());
  EXPECT_EQ(FailingQueueCheck(*backend), Failure());
}

class FaultTest : public ::testing::TestWithParam<NamedFault> {};

TEST_P(FaultTest, IsFound) {
  const std::shared_ptr<Backend> backend = Mutant(GetParam().fault);
  const std::string_view finder = GetParam().finder;
  const bool op = finder == "attention" || finder == "reshape" || finder == "gather";
  const auto [found_by, report] = op                  ? FailingCase(*backend, finder)
                                  : finder == "queue" ? FailingQueueCheck(*backend)
                                                      : FailingProperty(*backend);
  EXPECT_EQ(found_by, finder) << report;
}

INSTANTIATE_TEST_SUITE_P(Mutants, FaultTest, ::testing::ValuesIn(kFaults),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace weft::testing
