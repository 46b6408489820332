// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/report_page.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "nlohmann/json.hpp"

namespace weft::replay {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kPage =
#include "tools/replay/page/page.html.inc"
    ;
constexpr std::string_view kStyle =
#include "tools/replay/page/page.css.inc"
    ;
constexpr std::string_view kChartScript =
#include "tools/replay/page/chart.js.inc"
    ;
constexpr std::string_view kPageScript =
#include "tools/replay/page/page.js.inc"
    ;

// Fewer digits make a smaller page. Whole nanoseconds: a small operation takes a few microseconds.
double Seconds(double seconds) { return std::round(seconds * 1e9) / 1e9; }
double Milliseconds(double ms) { return std::round(ms * 1e3) / 1e3; }

template <typename Sample, typename Get>
Json Column(const std::vector<Sample>& samples, Get get) {
  Json column = Json::array();
  for (const Sample& sample : samples) column.push_back(get(sample));
  return column;
}

Json StepColumns(const std::vector<StepSample>& steps) {
  using S = StepSample;
  Json json;
  const auto add = [&](const char* name, auto get) { json[name] = Column(steps, get); };
  add("start_s", [](const S& s) { return Seconds(s.start_s); });
  add("end_s", [](const S& s) { return Seconds(s.end_s); });
  add("virtual_start_ms", [](const S& s) { return Milliseconds(s.virtual_start_ms); });
  add("virtual_end_ms", [](const S& s) { return Milliseconds(s.virtual_end_ms); });
  add("prefill_tokens", [](const S& s) { return s.prefill_tokens; });
  add("decode_tokens", [](const S& s) { return s.decode_tokens; });
  add("prefills", [](const S& s) { return s.prefills; });
  add("decodes", [](const S& s) { return s.decodes; });
  add("waiting", [](const S& s) { return s.waiting; });
  add("reused_tokens", [](const S& s) { return s.reused_tokens; });
  add("blocks_used", [](const S& s) { return s.blocks.used; });
  add("blocks_cached", [](const S& s) { return s.blocks.cached; });
  add("samples", [](const S& s) { return s.samples; });
  add("causal_pairs", [](const S& s) {
    int64_t sum = 0;
    for (const RankSample& rank : s.ranks) sum += rank.causal_pairs;
    return sum;
  });
  add("causal_pairs_of_busiest", [](const S& s) {
    int64_t most = 0;
    for (const RankSample& rank : s.ranks) most = std::max(most, rank.causal_pairs);
    return most;
  });
  return json;
}

Json OpColumns(const std::vector<StepSample>& steps) {
  Json json = Json::array();
  for (int kind = 0; kind < kNumOpKinds; ++kind) {
    int64_t calls = 0;
    Json column = Json::array();
    for (const StepSample& step : steps) {
      double seconds = 0;
      for (const RankSample& rank : step.ranks) {
        seconds += absl::ToDoubleSeconds(rank.ops[kind].time);
        calls += rank.ops[kind].calls;
      }
      column.push_back(Seconds(seconds));
    }
    if (calls == 0) continue;
    json.push_back({{"name", Name(static_cast<OpKind>(kind))},
                    {"calls", calls},
                    {"seconds", std::move(column)}});
  }
  return json;
}

Json RequestColumns(const std::vector<RequestSample>& requests) {
  using R = RequestSample;
  Json json;
  const auto add = [&](const char* name, auto get) { json[name] = Column(requests, get); };
  add("virtual_arrival_ms", [](const R& r) { return Milliseconds(r.arrival_ms); });
  add("prompt_tokens", [](const R& r) { return r.prompt_length; });
  add("output_tokens", [](const R& r) { return r.output_length; });
  add("reused_tokens", [](const R& r) { return r.reused_tokens; });
  add("first_step", [](const R& r) { return r.first_step; });
  add("first_token_step", [](const R& r) { return r.first_token_step; });
  add("last_step", [](const R& r) { return r.last_step; });
  return json;
}

Json RankTable(const std::vector<RankTotals>& ranks) {
  Json json = Json::array();
  for (const RankTotals& rank : ranks) {
    absl::Duration device;
    for (const OpTime& op : rank.op_times) device += op.time;
    json.push_back({{"causal_pairs", rank.causal_pairs},
                    {"rows", rank.rows},
                    {"padding_rows", rank.padding_rows},
                    {"device_s", Seconds(absl::ToDoubleSeconds(device))},
                    {"plan_s", Seconds(absl::ToDoubleSeconds(rank.plan_time))}});
  }
  return json;
}

}  // namespace

std::string ReportPageData(const RunLabel& label, const EngineConfig& config, const RunStats& stats,
                           const Recorder& recorder) {
  Json json;
  json["run"] = config.run;
  json["driver"] = label.device.driver;
  json["model"] = config.preset.description;
  json["mismatches"] = stats.mismatches;
  json["steps"] = StepColumns(recorder.steps());
  json["ops"] = OpColumns(recorder.steps());
  json["requests"] = RequestColumns(recorder.requests());
  json["ranks"] = RankTable(stats.ranks);
  // What drivers and users wrote may be anything; `replace` keeps dump from throwing over it.
  const std::string rest = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return absl::StrCat("{\"summary\":", ReportJson(label, config, stats), ",",
                      std::string_view(rest).substr(1));
}

std::string ReportPage(const std::string& data) {
  // Outside strings JSON has none of these.
  const std::string safe =
      absl::StrReplaceAll(data, {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}});
  return absl::StrReplaceAll(kPage, {{"/*STYLE*/", kStyle},
                                     {"/*SCRIPT*/", absl::StrCat(kChartScript, kPageScript)},
                                     {"/*DATA*/", safe}});
}

}  // namespace weft::replay
