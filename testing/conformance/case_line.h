// SPDX-License-Identifier: Apache-2.0
//
// A case as one line, "op key=value key=value": what a failure prints, and what can be pasted back
// (WEFT_CASE="attention dtype=bf16 ..." runs it alone).
#ifndef WEFT_TESTING_CONFORMANCE_CASE_LINE_H_
#define WEFT_TESTING_CONFORMANCE_CASE_LINE_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/dtype.h"

namespace weft::testing {

// The first word of a line: "attention", "reshape", "gather".
std::string_view CaseOp(std::string_view line);

// Reads the fields of one line. A field that is not there leaves its target alone, so defaults
// stand where the struct declares them. The first error sticks and Finish returns it, with the
// line.
class CaseLineReader {
 public:
  CaseLineReader(std::string_view line, std::string_view op);

  void Read(std::string_view key, int64_t min, int64_t* target);
  void Read(std::string_view key, uint64_t* target);
  void Read(std::string_view key, DType* target);
  void Read(std::string_view key, std::string* target);
  void Read(std::string_view key, int64_t min, std::vector<int64_t>* target);  // "1,5,9"
  // One of `words`; the target receives its index.
  void ReadWord(std::string_view key, const std::vector<std::string_view>& words, int* target);

  void Fail(std::string_view key, std::string_view expected);

  // INVALID_ARGUMENT: another op, a field twice, an unknown field, a bad value.
  absl::Status Finish();

 private:
  bool Take(std::string_view key, std::string* text);

  std::string line_;
  std::map<std::string, std::string, std::less<>> fields_;
  absl::Status status_;
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_CASE_LINE_H_
