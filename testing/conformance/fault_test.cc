// SPDX-License-Identifier: Apache-2.0
//
// A check that cannot fail is no check: each planted fault must be found by the suite, in the check
// that is meant for it, and the same code without a fault must pass. docs/faults.md is the table.
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/conformance/attention_checks.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/cases.h"
#include "testing/conformance/faults.h"
#include "testing/conformance/mutant_backend.h"
#include "testing/conformance/operation_checks.h"
#include "testing/conformance/queue_checks.h"
#include "testing/reference/reference_backend.h"

namespace weft::testing {
namespace {

std::shared_ptr<Backend> Mutant(Fault fault) {
  Registry registry;
  EXPECT_TRUE(RegisterReferenceBackend(registry).ok());
  return MakeMutant(registry.Create("reference:0").value(), fault);
}

// The name of a check that fails, and its report; empty if none does.
using Failure = std::pair<std::string, std::string>;

// Lines with the words of `hint` come first.
Failure FailingCase(Backend& backend, std::string_view op, std::string_view hint) {
  for (bool hinted : {true, false}) {
    for (const std::string& line : CaseLines()) {
      if (CaseOp(line) != op || absl::StrContains(line, hint) != hinted) continue;
      const absl::Status status = CheckCaseLine(backend, line);
      if (!status.ok()) return {absl::StrCat(op, " cases"), std::string(status.message())};
    }
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

// Runs the check of that name, of a queue or of operations. Not found: empty.
template <typename Checks>
Failure FailingCheck(Backend& backend, const Checks& checks, std::string_view name) {
  for (const auto& check : checks) {
    if (!name.empty() && check.name != name) continue;
    const absl::Status status = check.check(backend);
    if (!status.ok()) return {std::string(check.name), std::string(status.message())};
  }
  return {};
}

template <typename Checks>
bool Has(const Checks& checks, std::string_view name) {
  for (const auto& check : checks) {
    if (check.name == name) return true;
  }
  return false;
}

Failure Find(Backend& backend, const NamedFault& fault) {
  std::string_view op = fault.caught_by;
  if (absl::ConsumeSuffix(&op, " cases")) return FailingCase(backend, op, fault.hint);
  if (Has(QueueChecks(), op)) return FailingCheck(backend, QueueChecks(), op);
  if (Has(OperationChecks(), op)) return FailingCheck(backend, OperationChecks(), op);
  return FailingProperty(backend);
}

TEST(FaultTest, WithoutAFaultEverythingPasses) {
  const std::shared_ptr<Backend> backend = Mutant(Fault::kNone);
  for (std::string_view op : {"attention", "reshape", "gather", "merge", "correct", "quantize"}) {
    EXPECT_EQ(FailingCase(*backend, op, ""), Failure());
  }
  EXPECT_EQ(FailingProperty(*backend), Failure());
  EXPECT_EQ(FailingCheck(*backend, QueueChecks(), ""), Failure());
  EXPECT_EQ(FailingCheck(*backend, OperationChecks(), ""), Failure());
}

class FaultTest : public ::testing::TestWithParam<NamedFault> {};

TEST_P(FaultTest, IsFound) {
  const std::shared_ptr<Backend> backend = Mutant(GetParam().fault);
  const auto [found_by, report] = Find(*backend, GetParam());
  EXPECT_EQ(found_by, GetParam().caught_by) << GetParam().what << "\n" << report;
}

INSTANTIATE_TEST_SUITE_P(Mutants, FaultTest, ::testing::ValuesIn(AllFaults()),
                         [](const auto& info) { return absl::StrCat(info.index); });

TEST(FaultTest, ThePageIsUpToDate) {
  std::ifstream file("docs/faults.md");
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_EQ(page.str(), FaultsMarkdown());
  std::cout << FaultsMarkdown();
}

}  // namespace
}  // namespace weft::testing
