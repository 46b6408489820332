// SPDX-License-Identifier: Apache-2.0
#include "tools/weft/command.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "core/device.h"
#include "core/status_macros.h"
#include "tools/replay/text.h"

namespace weft::cli {

int Report(const Failure& failure) {
  const std::string line = absl::StrReplaceAll(failure.message, {{"\n", "; "}});
  absl::FPrintF(stderr, "weft: %s\n", line);
  return failure.code;
}

Arguments::Arguments(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) tokens_.emplace_back(argv[i]);
}

std::string Arguments::AsTyped(std::string_view flag) const {
  for (size_t i = tokens_.size(); i > 0; --i) {
    const std::string& token = tokens_[i - 1];
    if (absl::StartsWith(token, absl::StrCat(flag, "="))) {
      return absl::StrCat(flag, "=", replay::Shown(token.substr(flag.size() + 1)));
    }
    if (token != flag) continue;
    if (i == tokens_.size() || absl::StartsWith(tokens_[i], "--")) return token;
    return absl::StrCat(flag, " ", replay::Shown(tokens_[i]));
  }
  return std::string(flag);
}

absl::StatusOr<int64_t> Arguments::Int(std::string_view flag, const std::string& value, int64_t low,
                                       int64_t high) const {
  const absl::StatusOr<int64_t> number = replay::ParseInt(value, low, high);
  if (number.ok()) return *number;
  return absl::InvalidArgumentError(absl::StrCat(AsTyped(flag), ": ", number.status().message()));
}

absl::StatusOr<std::vector<int64_t>> Arguments::IntList(std::string_view flag,
                                                        const std::string& value, int64_t low,
                                                        int64_t high) const {
  std::vector<int64_t> numbers;
  for (const std::string_view item : absl::StrSplit(value, ',')) {
    const absl::StatusOr<int64_t> number = replay::ParseInt(item, low, high);
    if (!number.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(AsTyped(flag), ": number ", numbers.size() + 1,
                                                     " \"", replay::Shown(item),
                                                     "\": ", number.status().message()));
    }
    numbers.push_back(*number);
  }
  return numbers;
}

absl::Status CheckBackendName(std::string_view name, bool allow_auto) {
  if (allow_auto && name == "auto") return absl::OkStatus();
  const std::string_view kind = name.substr(0, name.find(':'));
  for (const BackendKind known :
       {BackendKind::kCuda, BackendKind::kVulkan, BackendKind::kReference}) {
    if (kind == Name(known)) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no such backend; there are ", allow_auto ? "auto, " : "",
                   "cuda, vulkan and reference, with :ORDINAL or :NAME behind it if wanted"));
}

ExitCode CodeForBackendError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return kUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnimplemented:
      return kAbsent;
    default:
      return kFailed;
  }
}

absl::Status CheckWritable(const std::string& path) {
  const std::filesystem::path resolved = ResolvePath(path);
  std::filesystem::path folder = resolved.parent_path();
  if (folder.empty()) folder = ".";
  std::error_code error;
  if (std::filesystem::is_directory(resolved, error)) {
    return absl::InvalidArgumentError("it is a directory");
  }
  if (!std::filesystem::is_directory(folder, error)) {
    return absl::InvalidArgumentError("there is no such folder");
  }
  const bool exists = std::filesystem::exists(resolved, error);
  if (access((exists ? resolved : folder).c_str(), W_OK) != 0) {
    return absl::InvalidArgumentError("it may not be written");
  }
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, std::string_view text) {
  std::ofstream stream(ResolvePath(path), std::ios::binary);
  stream << text << std::flush;
  if (stream) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("writing failed: ", absl::CHexEscape(path)));
}

std::string ResolvePath(const std::string& path) {
  const char* directory = std::getenv("BUILD_WORKING_DIRECTORY");
  if (directory == nullptr || path.empty() || path.front() == '/') return path;
  return (std::filesystem::path(directory) / path).string();
}

}  // namespace weft::cli
