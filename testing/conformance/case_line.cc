// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/case_line.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace weft::testing {

std::string_view CaseOp(std::string_view line) {
  line = absl::StripAsciiWhitespace(line);
  return line.substr(0, line.find(' '));
}

CaseLineReader::CaseLineReader(std::string_view line, std::string_view op) : line_(line) {
  const std::vector<std::string_view> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  if (words.empty() || words.front() != op) {
    status_ = absl::InvalidArgumentError(absl::StrCat("must begin with \"", op, "\""));
    return;
  }
  for (size_t i = 1; i < words.size(); ++i) {
    const std::pair<std::string, std::string> field =
        absl::StrSplit(words[i], absl::MaxSplits('=', 1));
    if (!fields_.insert(field).second) Fail(field.first, "given once");
  }
}

void CaseLineReader::Fail(std::string_view key, std::string_view expected) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(absl::StrCat(key, " must be ", expected));
}

bool CaseLineReader::Take(std::string_view key, std::string* text) {
  const auto found = fields_.find(key);
  if (found == fields_.end()) return false;
  *text = found->second;
  fields_.erase(found);
  return true;
}

void CaseLineReader::Read(std::string_view key, int64_t min, int64_t* target) {
  std::vector<int64_t> values;
  Read(key, min, &values);
  if (values.empty()) return;
  if (values.size() > 1) return Fail(key, "one number");
  *target = values.front();
}

void CaseLineReader::Read(std::string_view key, uint64_t* target) {
  std::string text;
  if (Take(key, &text) && !absl::SimpleAtoi(text, target)) Fail(key, "a number");
}

void CaseLineReader::Read(std::string_view key, DType* target) {
  std::string text;
  if (!Take(key, &text)) return;
  const absl::StatusOr<DType> dtype = ParseDType(text);
  if (!dtype.ok()) return Fail(key, "a dtype");
  *target = *dtype;
}

void CaseLineReader::Read(std::string_view key, std::string* target) { Take(key, target); }

void CaseLineReader::Read(std::string_view key, int64_t min, std::vector<int64_t>* target) {
  constexpr int64_t kMax = int64_t{1} << 24;  // a case is small
  std::string text;
  if (!Take(key, &text)) return;
  std::vector<int64_t> values;
  for (std::string_view part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(part, &value) || value < min || value > kMax) {
      return Fail(key, absl::StrCat("numbers of ", min, " to ", kMax));
    }
    values.push_back(value);
  }
  *target = std::move(values);
}

void CaseLineReader::ReadWord(std::string_view key, const std::vector<std::string_view>& words,
                              int* target) {
  std::string text;
  if (!Take(key, &text)) return;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] != text) continue;
    *target = static_cast<int>(i);
    return;
  }
  Fail(key, absl::StrJoin(words, " or "));
}

absl::Status CaseLineReader::Finish() {
  if (status_.ok() && !fields_.empty()) Fail(fields_.begin()->first, "left out: it is not known");
  if (status_.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("case \"", line_, "\": ", status_.message()));
}

}  // namespace weft::testing
