// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/golden/golden_case.h"
#include "testing/golden/safetensors.h"
#include "testing/json.h"

namespace weft::testing {
namespace {

// A string field that is not empty, or an error.
absl::StatusOr<std::string> StringField(const nlohmann::json& entry, const char* field) {
  if (!entry.contains(field) || !entry[field].is_string() ||
      entry[field].get_ref<const std::string&>().empty()) {
    return absl::DataLossError(absl::StrCat("needs a string \"", field, "\""));
  }
  return entry[field].get<std::string>();
}

absl::StatusOr<GoldenCase> ParseCase(const nlohmann::json& entry, const std::string& directory) {
  if (!entry.is_object()) return absl::DataLossError("is not an object");
  GoldenCase golden;
  ASSIGN_OR_RETURN(golden.name, StringField(entry, "name"));
  ASSIGN_OR_RETURN(golden.op, StringField(entry, "op"));
  ASSIGN_OR_RETURN(const std::string file, StringField(entry, "file"));
  // A manifest speaks of its own directory only.
  if (file.find('/') != std::string::npos || file.find('\0') != std::string::npos || file == "." ||
      file == "..") {
    return absl::DataLossError(
        absl::StrCat("has file \"", absl::CEscape(file).substr(0, 80), "\", must be a plain name"));
  }
  golden.path = absl::StrCat(directory, "/", file);
  if (!entry.contains("args") || !entry["args"].is_object()) {
    return absl::DataLossError("needs an object \"args\"");
  }
  golden.args = entry["args"];
  golden.info = nlohmann::json::object();
  if (entry.contains("info") && entry["info"].is_object()) golden.info = entry["info"];
  return golden;
}

}  // namespace

absl::StatusOr<std::vector<GoldenCase>> ParseManifest(std::string_view text,
                                                      const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/manifest.json");
  const absl::StatusOr<nlohmann::json> parsed = ParseJson(text);
  if (!parsed.ok()) {
    return absl::DataLossError(absl::StrCat(path, ": ", parsed.status().message()));
  }
  const nlohmann::json& manifest = *parsed;
  if (!manifest.is_object() || !manifest.contains("cases") || !manifest["cases"].is_array()) {
    return absl::DataLossError(absl::StrCat(path, ": needs a JSON object with an array \"cases\""));
  }
  std::vector<GoldenCase> cases;
  std::set<std::string> names;
  for (const nlohmann::json& entry : manifest["cases"]) {
    absl::StatusOr<GoldenCase> golden = ParseCase(entry, directory);
    if (!golden.ok()) {
      return absl::DataLossError(
          absl::StrCat(path, ": case ", cases.size(), " ", golden.status().message()));
    }
    if (!names.insert(golden->name).second) {
      return absl::DataLossError(absl::StrCat(path, ": case ", cases.size(), " has the name \"",
                                              absl::CEscape(golden->name).substr(0, 80),
                                              "\" of another one"));
    }
    cases.push_back(*std::move(golden));
  }
  return cases;
}

absl::StatusOr<std::vector<GoldenCase>> ReadManifest(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes,
                   ReadFile(absl::StrCat(directory, "/manifest.json")));
  return ParseManifest({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, directory);
}

}  // namespace weft::testing
