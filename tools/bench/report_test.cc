// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/report.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace weft::bench {
namespace {

using absl::StrContains;

Row Measured(std::string name, double microseconds) {
  Row row;
  row.name = std::move(name);
  row.seconds = row.fastest = row.slowest = microseconds * 1e-6;
  row.bytes = 4e6;
  row.floor_seconds = row.seconds / 2;
  row.calls = 8;
  row.replays = 5;
  return row;
}

Results Sample() {
  Results results;
  results.device.name = "a \"device\"";
  results.device.driver = "1.2\xff";  // no UTF-8
  results.commit = "abc";
  results.preset = "full";
  results.rows = {Measured("decode/x", 10), Measured("decode/y", 20), Measured("decode/z", 30)};
  Row failed;
  failed.name = "decode/f";
  failed.verdict = Verdict::kFailed;
  failed.note = "check:\nwrong";
  results.rows.push_back(failed);
  return results;
}

TEST(ReportTest, TableHasRatesFloorsAndReasons) {
  const std::string table = Table(Sample());
  EXPECT_TRUE(StrContains(table, "commit abc")) << table;
  EXPECT_TRUE(StrContains(table, "decode/x")) << table;
  EXPECT_TRUE(StrContains(table, "0.400")) << table << "TB/s of 4 MB in 10 us";
  EXPECT_TRUE(StrContains(table, "50.00")) << table << "the share";
  EXPECT_TRUE(StrContains(table, "decode/f FAILED: check:; wrong\n")) << table;
  EXPECT_FALSE(StrContains(table, "NOT CHECKED"));
  Results unchecked = Sample();
  unchecked.checked = false;
  EXPECT_TRUE(StrContains(Table(unchecked), "NOT CHECKED"));
}

TEST(ReportTest, JsonReadsBack) {
  const absl::StatusOr<OldResults> old = ReadJson(Json(Sample()));
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(old->device, "a \"device\"");
  EXPECT_EQ(old->commit, "abc");
  ASSERT_EQ(old->rows.size(), 3u) << "what failed has no time";
  EXPECT_EQ(old->rows[1].name, "decode/y");
  EXPECT_DOUBLE_EQ(old->rows[1].microseconds, 20);
}

TEST(ReportTest, ComparisonNamesWhatIsSlower) {
  const absl::StatusOr<OldResults> old = ReadJson(Json(Sample()));
  ASSERT_TRUE(old.ok());
  Results now = Sample();
  now.rows[0].seconds *= 1.04;  // within
  now.rows[1].seconds *= 1.06;
  now.rows[2] = now.rows[3];
  now.rows[2].name = "decode/z";
  now.rows[3] = Measured("decode/new", 1);
  const std::string text = Comparison(*old, now);
  EXPECT_TRUE(StrContains(text, "slower by more than 5 %: decode/y (1.06)\n")) << text;
  EXPECT_TRUE(StrContains(text, "measured before, not now: decode/z\n")) << text;
  EXPECT_TRUE(StrContains(text, "new: decode/new\n")) << text;
  EXPECT_TRUE(StrContains(text, "1.040\n")) << text;
  EXPECT_FALSE(StrContains(Comparison(*old, Sample()), "slower")) << "than itself";
}

TEST(ReportTest, RefusesOtherFiles) {
  for (const char* text :
       {"", "[]", "{}", "1", "{\"weft_bench\":1}", "{\"weft_bench\":1,\"rows\":3}",
        "{\"weft_bench\":1,\"rows\":[1]}", "{\"weft_bench\":1,\"rows\":[{\"us\":1}]}",
        "{\"weft_bench\":1,\"rows\":[{\"name\":\"a\",\"us\":\"b\"}]}",
        "{\"weft_bench\":1,\"rows\":[{\"name\":\"a\",\"us\":-1}]}"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ReadJson(text).status())) << text;
  }
}

}  // namespace
}  // namespace weft::bench
