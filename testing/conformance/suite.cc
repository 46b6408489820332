// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/suite.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "testing/conformance/attention_checks.h"
#include "testing/conformance/bad_input_checks.h"
#include "testing/conformance/cases.h"
#include "testing/conformance/operation_checks.h"
#include "testing/conformance/placed_memory.h"
#include "testing/conformance/queue_checks.h"
#include "testing/golden/golden_case.h"
#include "testing/required_backends.h"

namespace weft::testing {
namespace {

using RegisterFunction = absl::Status (*)(Registry&);

// A function, so that it exists when the first initialiser calls it.
std::vector<std::pair<std::string, RegisterFunction>>& Registered() {
  static auto* const backends = new std::vector<std::pair<std::string, RegisterFunction>>;
  return *backends;
}

std::vector<std::string> Devices() {
  std::vector<std::string> devices;
  for (const auto& [device, function] : Registered()) devices.push_back(device);
  return devices;
}

// Opened once for all tests: a device takes long to open, and kernels stay prepared.
absl::StatusOr<std::shared_ptr<Backend>> Open(const std::string& device) {
  static auto* const opened = new std::map<std::string, absl::StatusOr<std::shared_ptr<Backend>>>;
  const auto found = opened->find(device);
  if (found != opened->end()) return found->second;
  absl::StatusOr<std::shared_ptr<Backend>> backend = absl::NotFoundError(device);
  for (const auto& [name, function] : Registered()) {
    if (name != device) continue;
    Registry registry;
    const absl::Status registered = function(registry);
    backend = registered.ok() ? registry.Create(device) : registered;
  }
  return opened->emplace(device, backend).first->second;
}

// Runs a check on a device, and turns its answer into one of gtest's.
void Judge(const std::string& device, const std::function<absl::Status(Backend&)>& check) {
  const absl::StatusOr<std::shared_ptr<Backend>> backend = Open(device);
  if (absl::IsUnavailable(backend.status()) && !BackendIsRequired(device)) {
    GTEST_SKIP() << device << " is not here: " << backend.status().message();
  }
  ASSERT_TRUE(backend.ok()) << device << ": " << backend.status();
  const absl::Status status = check(**backend);
  // Whatever needs the host to reach the device's memory applies where it does: there CI is to see
  // it.
  const bool must_apply = BackendIsRequired(device) && AddressesAreHostPointers(**backend);
  if (IsDoesNotApply(status) && !must_apply) {
    GTEST_SKIP() << device << ": " << status.message();
  }
  if (absl::IsUnimplemented(status) && !BackendIsRequired(device)) {
    GTEST_SKIP() << device << " does not support this: " << status.message();
  }
  EXPECT_TRUE(status.ok()) << device << ": " << status.message();
}

// A test's name may hold letters, digits and underscores only.
std::string TestName(std::string_view text) {
  std::string name;
  for (char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (plain || (!name.empty() && name.back() != '_')) name.push_back(plain ? c : '_');
  }
  return name;
}

// Parameters are (device, line).
using DeviceAndLine = std::tuple<std::string, std::string>;

std::string NameOf(const ::testing::TestParamInfo<DeviceAndLine>& info) {
  return TestName(
      absl::StrCat(std::get<0>(info.param), " ", info.index, " ", std::get<1>(info.param)));
}

class CaseTest : public ::testing::TestWithParam<DeviceAndLine> {};

TEST_P(CaseTest, Passes) {
  const auto& [device, line] = GetParam();
  Judge(device, [&](Backend& backend) { return CheckCaseLine(backend, line); });
}

INSTANTIATE_TEST_SUITE_P(Conformance, CaseTest,
                         ::testing::Combine(::testing::ValuesIn(Devices()),
                                            ::testing::ValuesIn(CaseLines())),
                         NameOf);

// Parameters are (device, line, property).
class PropertyTest
    : public ::testing::TestWithParam<std::tuple<std::string, std::string, AttentionProperty>> {};

TEST_P(PropertyTest, Holds) {
  const auto& [device, line, property] = GetParam();
  const absl::StatusOr<AttentionCase> c = AttentionCase::Parse(line);
  ASSERT_TRUE(c.ok()) << c.status();
  Judge(device, [&, check = property.check](Backend& backend) { return check(backend, *c); });
}

INSTANTIATE_TEST_SUITE_P(Conformance, PropertyTest,
                         ::testing::Combine(::testing::ValuesIn(Devices()),
                                            ::testing::ValuesIn(PropertyLines()),
                                            ::testing::ValuesIn(AttentionProperties())),
                         [](const auto& info) {
                           return TestName(absl::StrCat(std::get<0>(info.param), " ",
                                                        std::get<2>(info.param).name, " ",
                                                        info.index));
                         });

// Parameters are (device, check).
class QueueTest : public ::testing::TestWithParam<std::tuple<std::string, QueueCheck>> {};

TEST_P(QueueTest, KeepsItsPromises) {
  const auto& [device, check] = GetParam();
  Judge(device, check.check);
}

INSTANTIATE_TEST_SUITE_P(Conformance, QueueTest,
                         ::testing::Combine(::testing::ValuesIn(Devices()),
                                            ::testing::ValuesIn(QueueChecks())),
                         [](const auto& info) {
                           return TestName(absl::StrCat(std::get<0>(info.param), " ",
                                                        std::get<1>(info.param).name));
                         });

class OperationTest : public ::testing::TestWithParam<std::tuple<std::string, OperationCheck>> {};

TEST_P(OperationTest, Holds) {
  const auto& [device, check] = GetParam();
  Judge(device, check.check);
}

INSTANTIATE_TEST_SUITE_P(Conformance, OperationTest,
                         ::testing::Combine(::testing::ValuesIn(Devices()),
                                            ::testing::ValuesIn(OperationChecks())),
                         [](const auto& info) {
                           return TestName(absl::StrCat(std::get<0>(info.param), " ",
                                                        std::get<1>(info.param).name));
                         });

class BadInputTest : public ::testing::TestWithParam<std::tuple<std::string, BadInputCheck>> {};

TEST_P(BadInputTest, IsRefused) {
  const auto& [device, check] = GetParam();
  Judge(device, check.check);
}

INSTANTIATE_TEST_SUITE_P(Conformance, BadInputTest,
                         ::testing::Combine(::testing::ValuesIn(Devices()),
                                            ::testing::ValuesIn(BadInputChecks())),
                         [](const auto& info) {
                           return TestName(absl::StrCat(std::get<0>(info.param), " ",
                                                        std::get<1>(info.param).name));
                         });

// The golden cases lie where the test is run.
std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  const absl::StatusOr<std::vector<GoldenCase>> cases = ReadManifest("testing/golden");
  if (!cases.ok()) return {"missing"};
  for (const GoldenCase& golden : *cases) names.push_back(golden.name);
  return names;
}

class GoldenTest : public ::testing::TestWithParam<DeviceAndLine> {};

TEST_P(GoldenTest, AnswersAsTheSeedsKernel) {
  const auto& [device, name] = GetParam();
  const absl::StatusOr<std::vector<GoldenCase>> cases = ReadManifest("testing/golden");
  ASSERT_TRUE(cases.ok()) << cases.status();
  for (const GoldenCase& golden : *cases) {
    if (golden.name != name) continue;
    Judge(device, [&](Backend& backend) { return JudgeGoldenCase(backend, golden); });
  }
}

INSTANTIATE_TEST_SUITE_P(Conformance, GoldenTest,
                         ::testing::Combine(::testing::ValuesIn(Devices()),
                                            ::testing::ValuesIn(GoldenNames())),
                         NameOf);

class PastedTest : public ::testing::TestWithParam<std::string> {};

TEST_P(PastedTest, Passes) {
  const char* const line = std::getenv("WEFT_CASE");
  if (line == nullptr) GTEST_SKIP() << "WEFT_CASE holds no case";
  Judge(GetParam(), [&](Backend& backend) { return CheckCaseLine(backend, line); });
}

INSTANTIATE_TEST_SUITE_P(Conformance, PastedTest, ::testing::ValuesIn(Devices()),
                         [](const auto& info) { return TestName(info.param); });

TEST(ConformanceTest, SomethingIsTested) { EXPECT_FALSE(Devices().empty()); }

}  // namespace

bool RegisterConformanceBackend(const std::string& device,
                                absl::Status (*register_backend)(Registry&)) {
  Registered().emplace_back(device, register_backend);
  return true;
}

}  // namespace weft::testing
