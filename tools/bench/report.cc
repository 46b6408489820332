// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "nlohmann/json.hpp"

namespace weft::bench {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr int kFormat = 1;

std::string_view Name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kFailed:
      return "FAILED";
    case Verdict::kUnsupported:
      return "unsupported";
    case Verdict::kNotMeasured:
      return "not measured";
  }
  return "?";
}

// Four digits that count, blank for none.
std::string Number(double value) {
  if (value == 0.0) return "";
  if (value >= 1000) return absl::StrFormat("%.0f", value);
  if (value >= 100) return absl::StrFormat("%.1f", value);
  if (value >= 10) return absl::StrFormat("%.2f", value);
  if (value >= 0.1) return absl::StrFormat("%.3f", value);
  return absl::StrFormat("%.2g", value);
}

int NameWidth(const Results& results) {
  size_t width = 8;
  for (const Row& row : results.rows) width = std::max(width, row.name.size());
  return static_cast<int>(width);
}

}  // namespace

std::string TableHeader(int name_width) {
  return absl::StrFormat("%-*s %10s %8s %9s %10s %8s %17s  %s\n", name_width, "case", "us", "TB/s",
                         "TFLOP/s", "floor us", "share %", "fastest..slowest", "");
}

std::string TableLine(const Row& row, int name_width) {
  if (row.verdict != Verdict::kOk) {
    return absl::StrFormat("%-*s %s: %s\n", name_width, row.name, Name(row.verdict),
                           absl::StrReplaceAll(row.note, {{"\n", "; "}}));
  }
  const std::string line = absl::StrFormat(
      "%-*s %10s %8s %9s %10s %8s %17s  %s", name_width, row.name, Number(row.seconds * 1e6),
      Number(row.bytes_per_second() * 1e-12), Number(row.flops_per_second() * 1e-12),
      Number(row.floor_seconds * 1e6), Number(row.share() * 100),
      absl::StrCat(Number(row.fastest * 1e6), "..", Number(row.slowest * 1e6)), row.note);
  return absl::StrCat(line.substr(0, line.find_last_not_of(' ') + 1), "\n");
}

std::string Table(const Results& results) {
  std::string text = absl::StrCat(results.device.name, " (", ToString(results.device.id), "), ",
                                  results.device.driver, results.commit.empty() ? "" : ", commit ",
                                  results.commit, "\npreset ", results.preset, "; ", results.method,
                                  results.checked ? "" : "; NOT CHECKED", "\n\n");
  const int width = NameWidth(results);
  absl::StrAppend(&text, TableHeader(width));
  for (const Row& row : results.rows) absl::StrAppend(&text, TableLine(row, width));
  return text;
}

std::string Json(const Results& results) {
  OrderedJson json;
  json["weft_bench"] = kFormat;
  json["device"] = results.device.name;
  json["device_id"] = ToString(results.device.id);
  json["driver"] = results.device.driver;
  json["commit"] = results.commit;
  json["preset"] = results.preset;
  json["method"] = results.method;
  json["checked"] = results.checked;
  json["ceilings"]["copy_tb_per_s"] = results.ceilings.copy_bytes * 1e-12;
  json["ceilings"]["matmul_cold_tflop_per_s"] = results.ceilings.matmul_flops_cold * 1e-12;
  json["ceilings"]["matmul_tflop_per_s"] = results.ceilings.matmul_flops_warm * 1e-12;
  json["rows"] = OrderedJson::array();
  for (const Row& row : results.rows) {
    OrderedJson one;
    one["name"] = row.name;
    one["verdict"] = Name(row.verdict);
    if (!row.note.empty()) one["note"] = row.note;
    if (row.verdict == Verdict::kOk) {
      one["us"] = row.seconds * 1e6;
      one["fastest_us"] = row.fastest * 1e6;
      one["slowest_us"] = row.slowest * 1e6;
      if (row.bytes > 0) one["tb_per_s"] = row.bytes_per_second() * 1e-12;
      if (row.flops > 0) one["tflop_per_s"] = row.flops_per_second() * 1e-12;
      if (row.floor_seconds > 0) {
        one["floor_us"] = row.floor_seconds * 1e6;
        one["share"] = row.share();
      }
      one["calls"] = row.calls;
      one["replays"] = row.replays;
    }
    json["rows"].push_back(std::move(one));
  }
  // A driver's strings may be anything; `replace` keeps dump from throwing over them.
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace weft::bench
