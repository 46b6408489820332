// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/registry.h"
#include "gtest/gtest.h"
#include "testing/golden/golden_case.h"
#include "testing/reference/reference_backend.h"

namespace weft::testing {
namespace {

std::shared_ptr<Backend> Reference(const std::string& device) {
  Registry registry;
  EXPECT_TRUE(RegisterReferenceBackend(registry).ok());
  return registry.Create(device).value();
}

std::vector<GoldenCase> Cases() { return ReadManifest("testing/golden").value(); }

// Writes a manifest.json and returns what reading it says.
std::string ManifestError(const std::string& text) {
  const std::string directory = ::testing::TempDir();
  std::ofstream(directory + "/manifest.json") << text;
  const auto cases = ReadManifest(directory);
  return cases.ok() ? "" : std::string(cases.status().message());
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(GoldenTest, TheDirectoryHoldsEveryCase) {
  std::map<std::string, int> count;
  for (const GoldenCase& golden : Cases()) ++count[golden.op];
  EXPECT_EQ(count, (std::map<std::string, int>{{"unified", 36},
                                               {"chunked", 16},
                                               {"reshape", 7},
                                               {"correct", 5},
                                               {"merge", 2},
                                               {"pack", 3}}));
}

TEST(GoldenTest, BothReferencesAnswerThem) {
  for (const char* device : {"reference:0", "reference:1"}) {
    const std::shared_ptr<Backend> backend = Reference(device);
    for (const GoldenCase& golden : Cases()) {
      const absl::Status verdict = JudgeGoldenCase(*backend, golden);
      EXPECT_TRUE(verdict.ok()) << device << " " << golden.name << ": " << verdict;
    }
  }
}

TEST(GoldenTest, AnUnknownOpIsNamed) {
  GoldenCase golden = Cases().front();
  golden.op = "mergesort";
  const absl::Status verdict = JudgeGoldenCase(*Reference("reference:0"), golden);
  EXPECT_EQ(verdict.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(Contains(std::string(verdict.message()), "op mergesort: no judge knows it"));
}

TEST(GoldenTest, AWrongAnswerIsFoundOut) {
  // Another scale is another answer.
  const std::shared_ptr<Backend> backend = Reference("reference:0");
  GoldenCase golden = Cases().front();
  golden.args["scale"] = golden.args["scale"].get<double>() * 1.01;
  const absl::Status verdict = JudgeGoldenCase(*backend, golden);
  EXPECT_EQ(verdict.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Contains(std::string(verdict.message()), "case: golden " + golden.name)) << verdict;
}

TEST(GoldenTest, BadArgumentsAreNamed) {
  const std::shared_ptr<Backend> backend = Reference("reference:0");
  const auto message = [&](const char* field, const nlohmann::json& value) {
    GoldenCase golden = Cases().front();
    golden.args[field] = value;
    return std::string(JudgeGoldenCase(*backend, golden).message());
  };
  EXPECT_TRUE(Contains(message("dtype", "fp12"), "args.dtype is \"fp12\""));
  EXPECT_TRUE(Contains(message("num_heads", "4"), "args.num_heads is \"4\""));
  EXPECT_TRUE(Contains(message("num_heads", 18446744073709551615u), "args.num_heads"));
  EXPECT_NE(message("num_heads", 0), "");
  EXPECT_NE(message("num_kv_heads", -1), "");
  EXPECT_NE(message("block_size", 0), "");
  EXPECT_NE(message("head_size", 33), "");
  GoldenCase missing = Cases().front();
  missing.path = "/nowhere";
  EXPECT_EQ(JudgeGoldenCase(*backend, missing).message(), "/nowhere: cannot be opened");
}

TEST(GoldenTest, BadManifestsAreRefused) {
  EXPECT_EQ(ManifestError(R"({"cases": []})"), "");
  EXPECT_TRUE(Contains(ManifestError("{"), "JSON")) << ManifestError("{");
  for (const char* text : {"{}", "[]", R"({"cases": 3})"}) {
    EXPECT_TRUE(Contains(ManifestError(text), "needs a JSON object with an array \"cases\""));
  }
  EXPECT_TRUE(Contains(ManifestError(R"({"cases": [3]})"), "case 0 is not an object"));
  EXPECT_TRUE(Contains(ManifestError(R"({"cases": [{"name": "a", "op": "b"}]})"),
                       "case 0 needs a string \"file\""));
  const std::string good = R"({"name": "a", "op": "b", "file": "c", "args": {}})";
  EXPECT_EQ(ManifestError(R"({"cases": [)" + good + "]}"), "");
  EXPECT_TRUE(Contains(ManifestError(R"({"cases": [)" + good + "," + good + "]}"),
                       "case 1 has the name \"a\" of another one"));
  EXPECT_TRUE(Contains(
      ManifestError(R"({"cases": [{"name": "a", "op": "b", "file": "../c", "args": {}}]})"),
      "must be a plain name"));
  EXPECT_TRUE(Contains(std::string(ReadManifest("/nowhere").status().message()),
                       "/nowhere/manifest.json: cannot be opened"));
}

}  // namespace
}  // namespace weft::testing
