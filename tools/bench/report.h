// SPDX-License-Identifier: Apache-2.0
//
// Results as a table for people and as JSON for programs, and two runs beside each other.
#ifndef WEFT_TOOLS_BENCH_REPORT_H_
#define WEFT_TOOLS_BENCH_REPORT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "tools/bench/result.h"

namespace weft::bench {

// One line of the table, aligned for names of up to `name_width` characters.
std::string TableHeader(int name_width);
std::string TableLine(const Row& row, int name_width);

// Device, ceilings, and a line for each row.
std::string Table(const Results& results);

// One object: device, driver, commit, preset, method, ceilings, rows. Times are microseconds.
std::string Json(const Results& results);

// Name and microseconds of what a JSON file of Json measured; rows that hold no time are left out.
struct OldRow {
  std::string name;
  double microseconds = 0.0;
};
struct OldResults {
  std::string device, commit;
  std::vector<OldRow> rows;
};
// INVALID_ARGUMENT: not JSON, or not of this format.
absl::StatusOr<OldResults> ReadJson(std::string_view text);

// Rows slower by more than this are named.
inline constexpr double kSlowerBy = 0.05;

// A line for each row that both have, old and new and their ratio; then the names of the slower
// ones, and of those that only one run has.
std::string Comparison(const OldResults& old, const Results& results);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_REPORT_H_
