// SPDX-License-Identifier: Apache-2.0
//
// What the sub-commands of weft have in common: exit codes, one-line errors, flags as they were
// typed, and backends by name.
#ifndef WEFT_TOOLS_WEFT_COMMAND_H_
#define WEFT_TOOLS_WEFT_COMMAND_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"

namespace weft::cli {

enum ExitCode : int {
  kOk = 0,
  kFailed = 1,  // a check did not pass, or a device or weft failed
  kUsage = 2,   // bad flags or input
  kAbsent = 3,  // a backend that weft knows and this machine does not have
};

// An error and the exit code that goes with it.
struct Failure {
  ExitCode code = kFailed;
  std::string message;  // one line
};

// Prints "weft: MESSAGE" to stderr and returns the code.
int Report(const Failure& failure);

// The program's arguments.
class Arguments {
 public:
  Arguments(int argc, const char* const* argv);

  // "--pcp=x" or "--pcp x", whichever was typed: the last one of that name; escaped and cut. Just
  // the name if it is not there.
  std::string AsTyped(std::string_view flag) const;

  // A flag's value as a whole number in [low, high]; INVALID_ARGUMENT begins with the flag as
  // typed.
  absl::StatusOr<int64_t> Int(std::string_view flag, const std::string& value, int64_t low,
                              int64_t high) const;

  // "1,5,8"; at least one number.
  absl::StatusOr<std::vector<int64_t>> IntList(std::string_view flag, const std::string& value,
                                               int64_t low, int64_t high) const;

  const std::vector<std::string>& tokens() const { return tokens_; }

 private:
  std::vector<std::string> tokens_;
};

// OK if `name` begins with a kind of backend that weft knows; opens nothing. INVALID_ARGUMENT
// lists the names. `allow_auto`: "auto" is a name too.
absl::Status CheckBackendName(std::string_view name, bool allow_auto);

// The exit code for an error of Registry::Create, or of a backend that cannot do a layer.
ExitCode CodeForBackendError(const absl::Status& status);

// `path` as the user meant it: `bazel run` starts a program elsewhere.
std::string ResolvePath(const std::string& path);

// Whether WriteFile is likely to succeed; writes nothing. INVALID_ARGUMENT says why not.
absl::Status CheckWritable(const std::string& path);
// Resolves `path` and replaces what is there. INTERNAL: the disk is full, say.
absl::Status WriteFile(const std::string& path, std::string_view text);

// A flag of a sub-command: --NAME=TEXT, or --NAME alone where `given` is set.
struct Flag {
  std::string name;  // with its dashes
  std::string help;
  std::string* value = nullptr;
  bool* given = nullptr;
  bool required = false;
};

// A sub-command. What its flags point to belongs to `run`, which is called after parsing and
// returns the exit code. main.cc alone knows the library that parses: it is slow to compile.
struct Command {
  std::string name, description, footer;
  std::vector<Flag> flags;
  std::function<int()> run;
};

// `arguments` must outlive the command.
Command ReplayCommand(const Arguments& arguments);
Command InfoCommand(const Arguments& arguments);
Command CheckCommand(const Arguments& arguments);
Command PartitionCommand(const Arguments& arguments);
Command BenchCommand(const Arguments& arguments);

}  // namespace weft::cli

#endif  // WEFT_TOOLS_WEFT_COMMAND_H_
