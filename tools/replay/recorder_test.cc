// SPDX-License-Identifier: Apache-2.0
//
// A run on the reference backend, and whether the recorder, the page and the trace say the same of
// it as its statistics do.
#include "tools/replay/recorder.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/reference/reference_backend.h"
#include "tools/replay/chrome_trace.h"
#include "tools/replay/generator.h"
#include "tools/replay/report.h"
#include "tools/replay/report_page.h"

namespace weft::replay {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;

constexpr int64_t kRanks = 2;

// All that a run leaves behind.
struct Recorded {
  Workload workload = ScaleTrace(GenerateTrace(30, 0), 1.0 / 128);
  RunLabel label;
  EngineConfig config;
  Recorder recorder{workload};
  RunStats stats;
};

const Recorded& TheRun() {
  static const Recorded* const recorded = [] {
    auto* run = new Recorded;
    run->config.preset = *FindPreset("small");
    run->config.scheduler.token_budget = 96;
    run->config.scheduler.max_running = 12;
    run->config.scheduler.block_size = 4;
    run->config.scheduler.num_blocks = 600;
    run->config.world_size = kRanks;
    run->config.num_layers = 2;
    run->config.check_every = 3;
    run->config.run = "weft replay --trace='</script><b>&amp;'";
    Registry registry;
    EXPECT_TRUE(RegisterReferenceBackend(registry).ok());
    auto backend = *registry.Create("reference");
    run->label.device = backend->info();
    run->label.device.name = "</script><script>alert(\"1\")</script>\xff";
    run->label.source = "built-in";
    run->label.requests = static_cast<int64_t>(run->workload.requests.size());
    auto engine = *Engine::Create(run->config, backend, run->workload);
    run->stats = *engine->Run(nullptr, run->recorder.Observer());
    return run;
  }();
  return *recorded;
}

TEST(Recorder, AddsUpToTheTotals) {
  const Recorded& run = TheRun();
  ASSERT_TRUE(run.stats.mismatches.empty());
  ScheduleTotals sum;
  int64_t checked = 0, pairs = 0, samples = 0, attention_calls = 0;
  absl::Duration attention;
  double last_end = 0, last_virtual = 0;
  for (const StepSample& step : run.recorder.steps()) {
    sum.prefill_tokens += step.prefill_tokens;
    sum.decode_tokens += step.decode_tokens;
    sum.reused_tokens += step.reused_tokens;
    checked += step.samples > 0 ? 1 : 0;
    samples += step.samples;
    ASSERT_EQ(step.ranks.size(), kRanks);
    EXPECT_GE(step.start_s, last_end);
    EXPECT_GE(step.virtual_start_ms, last_virtual);
    EXPECT_GT(step.virtual_end_ms, step.virtual_start_ms);
    EXPECT_GE(step.waiting, 0);
    EXPECT_EQ(step.blocks.total, 600);
    last_end = step.judged_s;
    last_virtual = step.virtual_end_ms;
    for (const RankSample& rank : step.ranks) {
      EXPECT_LE(step.prepared_s, rank.start_s);
      EXPECT_LE(rank.done_s, step.ran_s);
      pairs += rank.causal_pairs;
      attention += rank.ops[static_cast<int>(OpKind::kAttention)].time;
      attention_calls += rank.ops[static_cast<int>(OpKind::kAttention)].calls;
    }
  }
  const ScheduleTotals& totals = run.stats.schedule;
  EXPECT_EQ(static_cast<int64_t>(run.recorder.steps().size()), totals.steps);
  EXPECT_EQ(sum.prefill_tokens, totals.prefill_tokens);
  EXPECT_EQ(sum.decode_tokens, totals.decode_tokens);
  EXPECT_EQ(sum.reused_tokens, totals.reused_tokens);
  EXPECT_GT(sum.reused_tokens, 0);
  EXPECT_EQ(checked, run.stats.checked_steps);
  EXPECT_EQ(samples, run.stats.checked_pairs);
  // One kind of layer, and two layers.
  EXPECT_EQ(pairs, run.stats.ranks[0].causal_pairs + run.stats.ranks[1].causal_pairs);
  EXPECT_EQ(attention_calls, 2 * kRanks * totals.steps);
  absl::Duration of_ranks;
  for (const RankTotals& rank : run.stats.ranks) {
    of_ranks += rank.op_times[static_cast<int>(OpKind::kAttention)].time;
  }
  EXPECT_EQ(attention, of_ranks);
  EXPECT_GT(attention, absl::ZeroDuration());
}

TEST(Recorder, KnowsTheLifeOfARequest) {
  const Recorded& run = TheRun();
  const std::vector<StepSample>& steps = run.recorder.steps();
  for (const RequestSample& request : run.recorder.requests()) {
    ASSERT_GE(request.first_step, 0);
    EXPECT_LE(request.first_step, request.first_token_step);
    // One decode in each step from the one behind the first token at the earliest.
    EXPECT_GE(request.last_step, request.first_token_step + request.output_length);
    EXPECT_LT(request.last_step, static_cast<int64_t>(steps.size()));
    EXPECT_GE(steps[request.first_step].virtual_start_ms, request.arrival_ms);
    EXPECT_LT(request.reused_tokens, request.prompt_length);
  }
}

// What stands between the first `begin` and the next `end`.
std::string Between(const std::string& text, std::string_view begin, std::string_view end) {
  const size_t from = text.find(begin);
  if (from == std::string::npos) return "";
  const size_t first = from + begin.size();
  return text.substr(first, text.find(end, first) - first);
}

TEST(ReportPage, LoadsNothing) {
  const std::string page = ReportPage(R"({"summary":{}})");
  for (const char* loader :
       {"://", "src=", "@import", "url(", "fetch(", "XMLHttpRequest", "import(", "<iframe",
        "<object", "<embed", "WebSocket", "sendBeacon"}) {
    EXPECT_THAT(page, Not(HasSubstr(loader)));
  }
  EXPECT_EQ(Between(page, "<link ", ">"), R"(rel="icon" href="data:,")");
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(page, HasSubstr(R"(<meta name="viewport" content="width=device-width)"));
  for (const char* place : {"/*STYLE*/", "/*SCRIPT*/", "/*DATA*/"}) {
    EXPECT_THAT(page, Not(HasSubstr(place)));
  }
}

TEST(ReportPage, HoldsTheNumbersOfTheRun) {
  const Recorded& run = TheRun();
  const std::string page =
      ReportPage(ReportPageData(run.label, run.config, run.stats, run.recorder));
  // What users and drivers wrote cannot end the element: two scripts begin and two end.
  size_t ends = 0;
  for (size_t at = page.find("</script"); at != std::string::npos;
       at = page.find("</script", at + 1)) {
    ++ends;
  }
  EXPECT_EQ(ends, 2u);
  const std::string text =
      Between(page, R"(<script id="data" type="application/json">)", "</script>");
  const Json data = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(data.is_object());
  EXPECT_EQ(data["run"], run.config.run);
  const Json& summary = data["summary"];
  EXPECT_THAT(summary["device"].get<std::string>(), HasSubstr("</script><script>alert(\"1\")"));
  EXPECT_EQ(summary["output_digest"], run.stats.output_digest);
  EXPECT_EQ(summary["prefill_tokens"], run.stats.schedule.prefill_tokens);

  const auto count = static_cast<size_t>(run.stats.schedule.steps);
  int64_t prefill = 0, pairs = 0;
  for (const auto& [name, column] : data["steps"].items()) {
    EXPECT_EQ(column.size(), count) << name;
  }
  for (const Json& tokens : data["steps"]["prefill_tokens"]) prefill += tokens.get<int64_t>();
  EXPECT_EQ(prefill, run.stats.schedule.prefill_tokens);
  for (const Json& of_step : data["steps"]["causal_pairs"]) pairs += of_step.get<int64_t>();
  EXPECT_EQ(pairs, data["ranks"][0]["causal_pairs"].get<int64_t>() +
                       data["ranks"][1]["causal_pairs"].get<int64_t>());
  for (const auto& [name, column] : data["requests"].items()) {
    EXPECT_EQ(column.size(), run.workload.requests.size()) << name;
  }
  std::map<std::string, double> seconds;
  for (const Json& op : data["ops"]) {
    ASSERT_EQ(op["seconds"].size(), count);
    for (const Json& of_step : op["seconds"]) {
      seconds[op["name"].get<std::string>()] += of_step.get<double>();
    }
  }
  EXPECT_EQ(seconds.size(), 5u);
  for (const auto& [name, total] : seconds) {
    EXPECT_NEAR(total, summary["op_seconds"][name].get<double>(), 1e-9 * count) << name;
  }
}

// Slices of one track: each lies in the one that it began in, or behind it, to half a nanosecond.
void ExpectNested(const std::vector<std::pair<double, double>>& slices, const std::string& track) {
  std::vector<double> open;  // ends
  double last = 0;
  for (const auto& [begin, end] : slices) {
    EXPECT_GE(begin, last) << track;
    last = begin;
    while (!open.empty() && open.back() <= begin + 5e-4) open.pop_back();
    if (!open.empty()) {
      EXPECT_LE(end, open.back() + 1e-3) << track;
    }
    open.push_back(end);
  }
}

TEST(ChromeTrace, NestsAndAddsUp) {
  const Recorded& run = TheRun();
  const Json trace = Json::parse(ChromeTrace(run.label, run.config, run.recorder), nullptr,
                                 /*allow_exceptions=*/false);
  ASSERT_TRUE(trace.is_object());
  std::map<std::string, std::vector<std::pair<double, double>>> tracks;
  std::map<int64_t, std::string> track_names;
  std::map<std::string, double> op_microseconds;
  std::map<std::string, std::vector<double>> counters;
  std::map<int64_t, std::vector<std::string>> open;  // async events of an id
  std::map<int64_t, double> now;                     // of an id
  int64_t steps = 0, oracles = 0, requests = 0;
  for (const Json& event : trace["traceEvents"]) {
    const std::string kind = event["ph"], name = event["name"];
    if (kind == "M") {
      if (name == "thread_name") track_names[event["tid"]] = event["args"]["name"];
    } else if (kind == "X") {
      const double begin = event["ts"], length = event["dur"];
      EXPECT_GE(length, 0);
      ASSERT_TRUE(track_names.count(event["tid"]));
      tracks[track_names[event["tid"]]].emplace_back(begin, begin + length);
      if (event["cat"] == "device") op_microseconds[name] += length;
      steps += event["cat"] == "step" && absl::StartsWith(name, "step ") ? 1 : 0;
      oracles += event["cat"] == "oracle" ? 1 : 0;
    } else if (kind == "b" || kind == "e") {
      EXPECT_GE(event["ts"].get<double>(), now[event["id"]]);
      now[event["id"]] = event["ts"];
    }
    if (kind == "b") {
      requests += open[event["id"]].empty() ? 1 : 0;
      open[event["id"]].push_back(name);
    } else if (kind == "e") {
      std::vector<std::string>& stack = open[event["id"]];
      ASSERT_FALSE(stack.empty());
      EXPECT_EQ(stack.back(), name);
      stack.pop_back();
    } else if (kind == "C") {
      for (const auto& [series, value] : event["args"].items()) {
        counters[absl::StrCat(name, ": ", series)].push_back(value);
      }
    }
  }
  EXPECT_EQ(tracks.size(), 1 + 2 * kRanks);
  for (const auto& [name, slices] : tracks) ExpectNested(slices, name);
  EXPECT_EQ(steps, run.stats.schedule.steps);
  EXPECT_EQ(oracles, run.stats.checked_steps);
  EXPECT_EQ(requests, static_cast<int64_t>(run.workload.requests.size()));
  for (const auto& [id, stack] : open) EXPECT_TRUE(stack.empty()) << id;

  EXPECT_EQ(op_microseconds.size(), 5u);
  for (int kind = 0; kind < kNumOpKinds; ++kind) {
    absl::Duration total;
    for (const RankTotals& rank : run.stats.ranks) total += rank.op_times[kind].time;
    EXPECT_NEAR(op_microseconds[std::string(Name(static_cast<OpKind>(kind)))],
                absl::ToDoubleMicroseconds(total), 2e-3 * static_cast<double>(kRanks * steps));
  }
  double prefill = 0;
  for (const double tokens : counters["tokens of a step: prefill"]) prefill += tokens;
  EXPECT_EQ(prefill, static_cast<double>(run.stats.schedule.prefill_tokens));
  for (const char* series : {"used", "cached", "free"}) {
    EXPECT_THAT(counters[absl::StrCat("cache blocks: ", series)], Each(AllOf(Ge(0), Le(600))));
  }
}

}  // namespace
}  // namespace weft::replay
