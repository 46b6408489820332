// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/report.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/queue.h"
#include "nlohmann/json.hpp"

namespace weft::replay {
namespace {

// Ordered: people read it too.
using Json = nlohmann::ordered_json;

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto at = static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  return values[at];
}

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

// Numbers that both reports show.
struct Summary {
  double step_seconds = 0;
  double tokens_per_second = 0;
  double p50_ms = 0, p99_ms = 0;
  double prefix_hit_share = 0;  // of the prompts' tokens
  double balance = 1;           // causal work of the busiest rank over the average
  int64_t rows = 0, padding_rows = 0;
  double plan_seconds = 0;  // of all ranks
  std::vector<double> op_seconds = std::vector<double>(kNumOpKinds);
  double device_seconds = 0;
};

Summary Summarize(const RunStats& stats) {
  Summary summary;
  const ScheduleTotals& schedule = stats.schedule;
  summary.step_seconds = std::accumulate(stats.step_seconds.begin(), stats.step_seconds.end(), 0.0);
  summary.tokens_per_second = Ratio(
      static_cast<double>(schedule.prefill_tokens + schedule.decode_tokens), summary.step_seconds);
  summary.p50_ms = Percentile(stats.step_seconds, 0.5) * 1e3;
  summary.p99_ms = Percentile(stats.step_seconds, 0.99) * 1e3;
  summary.prefix_hit_share =
      Ratio(static_cast<double>(schedule.reused_tokens),
            static_cast<double>(schedule.reused_tokens + schedule.prefill_tokens));
  double most = 0, sum = 0;
  for (const RankTotals& rank : stats.ranks) {
    most = std::max(most, static_cast<double>(rank.causal_pairs));
    sum += static_cast<double>(rank.causal_pairs);
    summary.rows += rank.rows;
    summary.padding_rows += rank.padding_rows;
    summary.plan_seconds += absl::ToDoubleSeconds(rank.plan_time);
    for (size_t kind = 0; kind < rank.op_times.size(); ++kind) {
      const double seconds = absl::ToDoubleSeconds(rank.op_times[kind].time);
      summary.op_seconds[kind] += seconds;
      summary.device_seconds += seconds;
    }
  }
  if (sum > 0) summary.balance = most * static_cast<double>(stats.ranks.size()) / sum;
  return summary;
}

// 1234567 -> "1,234,567".
std::string Grouped(int64_t number) {
  std::string digits = absl::StrCat(number);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, ",");
  return digits;
}

std::string Bytes(int64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(bytes, " B") : absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

// "gather_rows" also makes the content that replay invents, and restores hidden states.
std::string_view OpRemark(OpKind kind) {
  switch (kind) {
    case OpKind::kGatherRows:
      return "  (makes queries, keys and values; restores hidden states)";
    case OpKind::kMergeStates:
    case OpKind::kCorrectAttnOut:
      return "  (DCP)";
    case OpKind::kCopy:
      return "  (tables, collectives, results)";
    case OpKind::kFill:
      return "  (poisons the outputs)";
    default:
      return "";
  }
}

}  // namespace

std::string ReportTable(const RunLabel& label, const EngineConfig& config, const RunStats& stats) {
  const Summary summary = Summarize(stats);
  const ScheduleTotals& schedule = stats.schedule;
  const SchedulerConfig& engine = config.scheduler;
  std::string table;
  const auto row = [&](std::string_view name, std::string_view value) {
    absl::StrAppend(&table, absl::StrFormat("%-19s %s\n", name, value));
  };
  row("device", absl::StrCat(ToString(label.device.id), ", ", label.device.name));
  row("trace", absl::StrFormat("%s, %s requests, scale %.6g", label.source, Grouped(label.requests),
                               label.scale));
  row("model", absl::StrFormat("%s, %d layers, cache of %s; pages of %d tokens, %s in the cache, "
                               "budget %d",
                               config.preset.name, config.num_layers,
                               Name(config.preset.kv_dtype.value_or(config.preset.dtype)),
                               engine.block_size / config.dcp, Grouped(engine.num_blocks),
                               engine.token_budget));
  row("tokens",
      absl::StrFormat("%s prefill, %s decode, in %s steps", Grouped(schedule.prefill_tokens),
                      Grouped(schedule.decode_tokens), Grouped(schedule.steps)));
  row("throughput", absl::StrFormat("%.0f tokens/s over %.1f s", summary.tokens_per_second,
                                    summary.step_seconds));
  row("step latency", absl::StrFormat("p50 %.2f ms, p99 %.2f ms", summary.p50_ms, summary.p99_ms));
  row("prefix hits",
      absl::StrFormat("%s tokens, %.1f %% of the prompts", Grouped(schedule.reused_tokens),
                      summary.prefix_hit_share * 100));
  row("block occupancy", absl::StrFormat("mean %.1f %%, peak %.1f %%", stats.mean_block_use * 100,
                                         stats.peak_block_use * 100));
  row(config.dcp > 1 ? "dcp" : "pcp",
      absl::StrFormat("%d ranks, balance %.3f (most / mean causal work)", config.num_ranks(),
                      summary.balance));
  row("padding",
      absl::StrFormat("%s of %s rows", Grouped(summary.padding_rows), Grouped(summary.rows)));
  row("bytes moved", Bytes(stats.bytes_communicated));
  absl::StrAppend(&table, "device time\n");
  for (int kind = 0; kind < kNumOpKinds; ++kind) {
    if (summary.op_seconds[kind] == 0) continue;
    row(absl::StrCat("  ", Name(static_cast<OpKind>(kind))),
        absl::StrFormat("%5.1f %%  %8.3f s%s",
                        Ratio(summary.op_seconds[kind], summary.device_seconds) * 100,
                        summary.op_seconds[kind], OpRemark(static_cast<OpKind>(kind))));
  }
  row("host: plans", absl::StrFormat("%.3f s", summary.plan_seconds));
  row("host: oracle", absl::StrFormat("%.3f s", absl::ToDoubleSeconds(stats.oracle_time)));
  row("checked",
      absl::StrFormat("%s steps, %s (row, head) pairs, %d mismatches", Grouped(stats.checked_steps),
                      Grouped(stats.checked_pairs), stats.mismatches.size()));
  row("output digest", stats.output_digest);
  return table;
}

std::string ReportJson(const RunLabel& label, const EngineConfig& config, const RunStats& stats) {
  const Summary summary = Summarize(stats);
  const ScheduleTotals& schedule = stats.schedule;
  Json json;
  json["backend"] = Name(label.device.id.kind);
  json["device"] = label.device.name;
  json["device_id"] = ToString(label.device.id);
  json["trace"] = label.source;
  json["requests"] = label.requests;
  json["scale"] = label.scale;
  json["preset"] = config.preset.name;
  json["dtype"] = Name(config.preset.dtype);
  json["kv_dtype"] = Name(config.preset.kv_dtype.value_or(config.preset.dtype));
  json["layers"] = config.num_layers;
  json["seed"] = config.seed;
  json["page_tokens"] = config.scheduler.block_size / config.dcp;
  json["cache_blocks"] = config.scheduler.num_blocks;
  json["token_budget"] = config.scheduler.token_budget;
  json["prefill_tokens"] = schedule.prefill_tokens;
  json["decode_tokens"] = schedule.decode_tokens;
  json["prefix_hit_tokens"] = schedule.reused_tokens;
  json["steps"] = schedule.steps;
  json["check_every"] = config.check_every;
  json["checked_steps"] = stats.checked_steps;
  json["checked_pairs"] = stats.checked_pairs;
  json["mismatches"] = stats.mismatches.size();
  json["output_digest"] = stats.output_digest;
  json["pcp"] = config.world_size;
  json["dcp"] = config.dcp;
  json["bytes_communicated"] = stats.bytes_communicated;
  json["rows"] = summary.rows;
  json["padding_rows"] = summary.padding_rows;
  json["pcp_balance"] = summary.balance;
  json["tokens_per_second"] = summary.tokens_per_second;
  json["step_seconds"] = summary.step_seconds;
  json["step_ms_p50"] = summary.p50_ms;
  json["step_ms_p99"] = summary.p99_ms;
  json["block_use_mean"] = stats.mean_block_use;
  json["block_use_peak"] = stats.peak_block_use;
  json["wall_seconds"] = absl::ToDoubleSeconds(stats.wall);
  json["oracle_seconds"] = absl::ToDoubleSeconds(stats.oracle_time);
  json["plan_seconds"] = summary.plan_seconds;
  Json& ops = json["op_seconds"] = Json::object();
  for (int kind = 0; kind < kNumOpKinds; ++kind) {
    ops[std::string(Name(static_cast<OpKind>(kind)))] = summary.op_seconds[kind];
  }
  // A device's name may be anything; `replace` keeps dump from throwing over it.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weft::replay
