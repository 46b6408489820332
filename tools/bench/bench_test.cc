// SPDX-License-Identifier: Apache-2.0
//
// A bench that takes wrong results for fast ones is worse than none: each kind of work, with a
// planted fault, must fail, and the same without must pass.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/conformance/faults.h"
#include "testing/conformance/mutant_backend.h"
#include "testing/reference/reference_backend.h"
#include "tools/bench/cases.h"
#include "tools/bench/measure.h"
#include "tools/bench/run.h"
#include "tools/bench/session.h"

namespace weft::bench {
namespace {

using weft::testing::Fault;

// A mutant runs its operations at once, outside its queue's clock: who passes the check gets so
// far.
constexpr std::string_view kUntimed = "does not measure its operations";

std::shared_ptr<Backend> Reference() {
  Registry registry;
  EXPECT_TRUE(RegisterReferenceBackend(registry).ok());
  return registry.Create("reference:0").value();
}

// The row of `name` after its case alone was run on a device with `fault`.
Row RunOne(Fault fault, const std::string& name, bool check = true) {
  Preset preset = *FindPreset("tiny");
  std::vector<Case> chosen;
  for (Case& c : preset.cases) {
    if (c.full_name() == name) chosen.push_back(std::move(c));
  }
  EXPECT_EQ(chosen.size(), 1u) << name;
  preset.cases = std::move(chosen);
  auto session = Session::Create(weft::testing::MakeMutant(Reference(), fault), preset);
  EXPECT_TRUE(session.ok()) << session.status();
  RunOptions options;
  options.check = check;
  const absl::StatusOr<Results> results = RunCases(**session, options);
  EXPECT_TRUE(results.ok()) << results.status();
  for (const Row& row : results->rows) {
    if (row.name == name) return row;
  }
  ADD_FAILURE() << "no row " << name;
  return {};
}

struct Planted {
  Fault fault;
  std::string name;
};

class FaultTest : public ::testing::TestWithParam<Planted> {};

TEST_P(FaultTest, IsFoundBeforeAnythingIsTimed) {
  const Row good = RunOne(Fault::kNone, GetParam().name);
  EXPECT_EQ(good.verdict, Verdict::kUnsupported) << good.note;
  EXPECT_TRUE(absl::StrContains(good.note, kUntimed)) << good.note;
  const Row bad = RunOne(GetParam().fault, GetParam().name);
  EXPECT_EQ(bad.verdict, Verdict::kFailed);
  EXPECT_TRUE(absl::StartsWith(bad.note, "check: ")) << bad.note;
}

INSTANTIATE_TEST_SUITE_P(Bench, FaultTest,
                         ::testing::Values(Planted{Fault::kDropOwnKey, "decode/b1_8k"},
                                           Planted{Fault::kDropGranuleStart, "decode/b1_128k"},
                                           Planted{Fault::kWrongKvHead, "decode/b64_8k"},
                                           Planted{Fault::kForeignKey, "decode/b64_8k_fp8kv"},
                                           Planted{Fault::kSeeNextKey, "prefill/1x8k"},
                                           Planted{Fault::kIgnoreWindow, "prefill/window4096_32k"},
                                           Planted{Fault::kIgnoreSoftcap, "prefill/softcap_8k"},
                                           Planted{Fault::kSwapRows, "prefill/mixed"},
                                           Planted{Fault::kCorrectFirstRank,
                                                   "small/correct_b4096_n4"},
                                           Planted{Fault::kMergeSwapped, "small/merge_4096"},
                                           Planted{Fault::kNoFill, "small/pack"},
                                           Planted{Fault::kNextRow, "small/unpack"},
                                           Planted{Fault::kNextSlot, "small/reshape_8k"},
                                           Planted{Fault::kWriteUnscaled, "small/reshape_8k_fp8"}),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           for (char& c : name) c = c == '/' ? '_' : c;
                           return name;
                         });

TEST(RunTest, WithoutChecksAWrongDeviceGetsAsFarAsTheTimer) {
  const Row row = RunOne(Fault::kWrongKvHead, "decode/b64_8k", /*check=*/false);
  EXPECT_TRUE(absl::StrContains(row.note, kUntimed)) << row.note;
}

TEST(CasesTest, NamesAreUniqueAndTinyHasThemAll) {
  const Preset full = *FindPreset("full"), tiny = *FindPreset("tiny");
  std::vector<std::string> names, tiny_names;
  for (const Case& c : full.cases) names.push_back(c.full_name());
  for (const Case& c : tiny.cases) tiny_names.push_back(c.full_name());
  EXPECT_EQ(names, tiny_names);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
  EXPECT_EQ(names.size(), 31u);
  EXPECT_FALSE(FindPreset("huge").ok());
}

// Replays of known length.
class FakeTools final : public DeviceTools {
 public:
  std::string_view method() const override { return "fake"; }
  absl::StatusOr<std::unique_ptr<Replay>> Record(int64_t calls, RecordCall record) override {
    for (int64_t call = 0; call < calls; ++call) {
      const absl::Status status = record(*queue_, call);
      if (!status.ok()) return status;
    }
    class FakeReplay final : public Replay {
     public:
      FakeReplay(FakeTools& tools, int64_t calls) : tools_(tools), calls_(calls) {}
      absl::StatusOr<double> Run() override {
        // Now and then a slow one, which a median does not see.
        const double each = ++tools_.runs % 4 == 0 ? 1.0 : 1e-4;
        return each * static_cast<double>(calls_);
      }

     private:
      FakeTools& tools_;
      int64_t calls_;
    };
    return std::make_unique<FakeReplay>(*this, calls);
  }

  int64_t runs = 0;

 private:
  std::unique_ptr<Queue> queue_ = *Reference()->CreateQueue();
};

TEST(MeasureTest, MedianOfWholeTurnsOverTheSets) {
  FakeTools tools;
  std::vector<int64_t> seen(3);
  const auto timing = MeasureWarm(
      tools, 3,
      [&](Queue&, int64_t set) {
        ++seen[static_cast<size_t>(set)];
        return absl::OkStatus();
      },
      0.0, 2.0);
  ASSERT_TRUE(timing.ok()) << timing.status();
  EXPECT_DOUBLE_EQ(timing->median, 1e-4);
  EXPECT_DOUBLE_EQ(timing->slowest, 1.0);
  EXPECT_EQ(timing->calls % 3, 0);
  EXPECT_GE(timing->calls, 20) << "2 ms of calls of 0.1 ms";
  EXPECT_GE(timing->replays, 3);
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
}

TEST(MeasureTest, ErrorsOfACallAreTheAnswer) {
  FakeTools tools;
  const auto refuse = [](Queue&, int64_t) { return absl::UnimplementedError("no"); };
  EXPECT_TRUE(absl::IsUnimplemented(MeasureWarm(tools, 1, refuse, 0, 0).status()));
  EXPECT_TRUE(absl::IsUnimplemented(MeasureCold(tools, 1, refuse, 0).status()));
}

}  // namespace
}  // namespace weft::bench
