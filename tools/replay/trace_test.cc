// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/trace.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft::replay {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kAzure[] = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";

std::string Mooncake(std::string_view timestamp, std::string_view input, std::string_view output,
                     std::string_view ids) {
  return absl::StrCat("{\"timestamp\": ", timestamp, ", \"input_length\": ", input,
                      ", \"output_length\": ", output, ", \"hash_ids\": ", ids, "}\n");
}

TEST(Trace, ReadsMooncake) {
  const auto trace =
      ParseTrace("\n" + Mooncake("3000", "1025", "7", "[0, 5, 6]") + "\r\n" +
                     "{\"type\": \"text\", \"timestamp\": 3000.5, \"input_length\": 512, "
                     "\"output_length\": 1, \"hash_ids\": [9223372036854775807]}",
                 "t.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_THAT(*trace, SizeIs(2));
  EXPECT_EQ((*trace)[0].arrival_ms, 0);
  EXPECT_EQ((*trace)[0].input_length, 1025);
  EXPECT_EQ((*trace)[0].output_length, 7);
  EXPECT_THAT((*trace)[0].hash_ids, ElementsAre(0, 5, 6));
  EXPECT_EQ((*trace)[1].arrival_ms, 0.5);
  EXPECT_THAT((*trace)[1].hash_ids, ElementsAre(INT64_MAX));
}

TEST(Trace, ReadsAzureAcrossMonthsAndLeapDays) {
  const auto trace = ParseTrace(absl::StrCat(kAzure,
                                             "2024-02-28 23:59:59.5000000,374,44\r\n"
                                             "2024-02-29 00:00:00,1,1\n"
                                             "\n"
                                             "2024-03-01 00:00:00.25+00:00,2,3"),
                                "t.csv");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_THAT(*trace, SizeIs(3));
  EXPECT_EQ((*trace)[0].input_length, 374);
  EXPECT_EQ((*trace)[0].output_length, 44);
  EXPECT_THAT((*trace)[0].hash_ids, IsEmpty());
  EXPECT_EQ((*trace)[1].arrival_ms, 500);
  EXPECT_EQ((*trace)[2].arrival_ms, 500 + 86400 * 1000 + 250);
}

struct BadCase {
  std::string text;
  std::string place;  // how the message begins
  std::string said;   // what it must hold as well
};

std::vector<BadCase> BadCases() {
  const std::string good = Mooncake("5", "3", "1", "[1]");
  return {
      {"", "f:1: ", "no request"},
      {"\n\n", "f:3: ", "no request"},
      {kAzure, "f:2: ", "no request"},
      {"hello\n", "f:1: ", "neither"},
      {"timestamp,a,b\n1,2,3\n", "f:1: ", "neither"},
      {good + "\n{\"timestamp\": 5", "f:3: ", "not JSON: {\\\"timestamp"},
      {good + "[1, 2]\n", "f:2: ", "not a JSON object: [1, 2]"},
      {good + std::string(5000, '[') + "\n", "f:2: ", "[[[..."},
      {good + "{}\n", "f:2: ", "no field \"timestamp\""},
      {good + "{\"timestamp\": 9}\n", "f:2: ", "no field \"input_length\""},
      {Mooncake("true", "3", "1", "[1]"), "f:1: ", "timestamp is not a number: true"},
      {Mooncake("-1", "3", "1", "[1]"), "f:1: ", "timestamp must be"},
      {Mooncake("NaN", "3", "1", "[1]"), "f:1: ", "not JSON"},
      {Mooncake("1e999", "3", "1", "[1]"), "f:1: ", "not JSON"},
      {Mooncake("5", "0", "1", "[]"), "f:1: ", "input_length must be from 1 to 1073741824: 0"},
      {Mooncake("5", "-7", "1", "[]"), "f:1: ", "input_length must be from 1 to 1073741824: -7"},
      {Mooncake("5", "3.5", "1", "[1]"), "f:1: ", "input_length is not a whole number: 3.5"},
      {Mooncake("5", "\"3\"", "1", "[1]"), "f:1: ", "not a whole number: \\\"3\\\""},
      {Mooncake("5", "18446744073709551615", "1", "[1]"), "f:1: ", "18446744073709551615"},
      {Mooncake("5", "1073741825", "1", "[1]"), "f:1: ", "input_length must be"},
      {Mooncake("5", "3", "0", "[1]"), "f:1: ", "output_length must be from 1 to 1073741824: 0"},
      {Mooncake("5", "3", "null", "[1]"), "f:1: ", "output_length is not a whole number: null"},
      {Mooncake("5", "513", "1", "[1]"), "f:1: ", "hash_ids has 1 ids, but input_length 513"},
      {Mooncake("5", "512", "1", "[1, 2]"), "f:1: ", "hash_ids has 2 ids"},
      {Mooncake("5", "3", "1", "[-1]"), "f:1: ", "hash_ids[0]"},
      {Mooncake("5", "3", "1", "[[1]]"), "f:1: ", "hash_ids[0]"},
      {Mooncake("5", "3", "1", "7"), "f:1: ", "hash_ids is not an array: 7"},
      {good + Mooncake("4", "3", "1", "[1]"), "f:2: ", "earlier"},
      {good + "{\"timestamp\": \"\x80\xff\"}", "f:2: ", "not JSON: {\\\"timestamp\\\": "},
      {absl::StrCat(kAzure, "2023-11-16 18:15:46,374\n"), "f:2: ", "2 columns instead of 3"},
      {absl::StrCat(kAzure, "2023-11-16 18:15:46,374,44,5\n"), "f:2: ", "4 columns"},
      {absl::StrCat(kAzure, "\n2023-02-29 18:15:46,374,44\n"), "f:3: ", "2023-02-29 18:15:46"},
      {absl::StrCat(kAzure, "2023-11-16 24:15:46,374,44\n"), "f:2: ", "TIMESTAMP"},
      {absl::StrCat(kAzure, "nan,374,44\n"), "f:2: ", "TIMESTAMP is not like"},
      {absl::StrCat(kAzure, "2023-11-16 18:15:46,0,44\n"), "f:2: ", "ContextTokens: must be"},
      {absl::StrCat(kAzure, "2023-11-16 18:15:46,+3,44\n"), "f:2: ", "whole number: +3"},
      {absl::StrCat(kAzure, "2023-11-16 18:15:46,3,99999999999999999999\n"),
       "f:2: ", "GeneratedTokens: must be from 1 to 1073741824: 99999999999999999999"},
      {absl::StrCat(kAzure, "2023-11-16 18:15:46,3,4\n2023-11-16 18:15:45.9,3,4\n"),
       "f:3: ", "earlier"},
  };
}

TEST(Trace, AnswersBadInputInOneLine) {
  for (const BadCase& bad : BadCases()) {
    const auto trace = ParseTrace(bad.text, "f");
    ASSERT_FALSE(trace.ok()) << bad.text;
    EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string message(trace.status().message());
    EXPECT_THAT(message, StartsWith(bad.place)) << bad.text;
    EXPECT_THAT(message, HasSubstr(bad.said)) << bad.text;
    EXPECT_THAT(message, Not(HasSubstr("\n"))) << bad.text;
    EXPECT_LT(message.size(), 250u) << bad.text;
  }
}

TEST(Trace, CutsAndEscapesTheValue) {
  const auto trace = ParseTrace("{\x01\"" + std::string(500, 'x'), "f");
  ASSERT_FALSE(trace.ok());
  EXPECT_THAT(std::string(trace.status().message()), EndsWith("xxx..."));
  EXPECT_THAT(std::string(trace.status().message()), HasSubstr("not JSON: {\\x01\\\"x"));
}

TEST(Trace, FilesThatCannotBeRead) {
  const auto missing = ReadTrace("/no/such\nfile");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/no/such\\nfile: no such file"));
  const char* folder = std::getenv("TEST_TMPDIR");
  ASSERT_NE(folder, nullptr);
  const auto directory = ReadTrace(folder);
  EXPECT_EQ(directory.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(directory.status().message()), HasSubstr("it is a directory"));
}

TEST(Trace, NamesTheFile) {
  const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/bad.jsonl");
  std::ofstream(path) << "\n" << Mooncake("5", "3", "1", "[1]") << "{\n";
  const auto trace = ReadTrace(path);
  ASSERT_FALSE(trace.ok());
  EXPECT_THAT(std::string(trace.status().message()), HasSubstr("/bad.jsonl:3: not JSON"));
}

}  // namespace
}  // namespace weft::replay
