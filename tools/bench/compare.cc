// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/status_macros.h"
#include "testing/json.h"
#include "tools/bench/report.h"

namespace weft::bench {
namespace {

std::string TextOf(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

const OldRow* Find(const OldResults& old, const std::string& name) {
  for (const OldRow& row : old.rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

void AppendNames(std::string_view what, const std::vector<std::string>& names, std::string& text) {
  if (!names.empty()) absl::StrAppend(&text, what, ": ", absl::StrJoin(names, ", "), "\n");
}

}  // namespace

absl::StatusOr<OldResults> ReadJson(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json json, testing::ParseJson(text));
  const auto rows = json.is_object() ? json.find("rows") : json.end();
  if (!json.is_object() || !json.contains("weft_bench") || rows == json.end() ||
      !rows->is_array()) {
    return absl::InvalidArgumentError("not what weft bench --json writes");
  }
  OldResults old;
  old.device = TextOf(json, "device");
  old.commit = TextOf(json, "commit");
  for (const nlohmann::json& row : *rows) {
    if (!row.is_object() || TextOf(row, "name").empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", &row - &(*rows)[0], " of the benchmark has no name"));
    }
    const auto time = row.find("us");
    if (time == row.end()) continue;
    if (!time->is_number() || !(time->get<double>() > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", &row - &(*rows)[0], " of the benchmark: \"us\" is no time"));
    }
    old.rows.push_back({TextOf(row, "name"), time->get<double>()});
  }
  return old;
}

std::string Comparison(const OldResults& old, const Results& results) {
  size_t width = 8;
  for (const Row& row : results.rows) width = std::max(width, row.name.size());
  std::string text =
      absl::StrCat("against ", old.device, old.commit.empty() ? "" : ", commit ", old.commit, "\n");
  absl::StrAppendFormat(&text, "%-*s %12s %12s %9s\n", static_cast<int>(width), "case", "old us",
                        "new us", "new/old");
  std::vector<std::string> slower, gone, added;
  for (const Row& row : results.rows) {
    const OldRow* const before = Find(old, row.name);
    if (row.verdict != Verdict::kOk) {
      if (before != nullptr) gone.push_back(row.name);
      continue;
    }
    if (before == nullptr) {
      added.push_back(row.name);
      continue;
    }
    const double now = row.seconds * 1e6, ratio = now / before->microseconds;
    const bool is_slower = ratio > 1 + kSlowerBy;
    absl::StrAppendFormat(&text, "%-*s %12.3f %12.3f %9.3f%s\n", static_cast<int>(width), row.name,
                          before->microseconds, now, ratio, is_slower ? "  slower" : "");
    if (is_slower) slower.push_back(absl::StrFormat("%s (%.2f)", row.name, ratio));
  }
  AppendNames("slower by more than 5 %", slower, text);
  AppendNames("measured before, not now", gone, text);
  AppendNames("new", added, text);
  return text;
}

}  // namespace weft::bench
