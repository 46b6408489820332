// SPDX-License-Identifier: Apache-2.0
//
// weft bench: how fast a device's attention is, beside what the device allows.
#include <regex.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "tools/bench/cases.h"
#include "tools/bench/report.h"
#include "tools/bench/run.h"
#include "tools/bench/session.h"
#include "tools/weft/command.h"

namespace weft::cli {
namespace {

struct Flags {
  std::string backend = "auto", cases, json, compare, seconds, preset = "full", commit;
  bool list = false, no_check = false;
};

absl::Status Bad(const Arguments& arguments, std::string_view flag, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(arguments.AsTyped(flag), ": ", why));
}

// Keeps the cases whose "group/name" holds a match. std::regex would throw.
absl::Status Select(const std::string& pattern, std::vector<bench::Case>& cases) {
  regex_t compiled;
  if (const int error = regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB); error != 0) {
    char why[128] = "";
    regerror(error, &compiled, why, sizeof(why));
    return absl::InvalidArgumentError(absl::StrCat("not a regular expression: ", why));
  }
  std::vector<bench::Case> chosen;
  for (bench::Case& c : cases) {
    if (regexec(&compiled, c.full_name().c_str(), 0, nullptr, 0) == 0) {
      chosen.push_back(std::move(c));
    }
  }
  regfree(&compiled);
  if (chosen.empty()) return absl::InvalidArgumentError("matches no case; --list shows them");
  cases = std::move(chosen);
  return absl::OkStatus();
}

absl::StatusOr<bench::OldResults> ReadOld(const std::string& path) {
  std::ifstream stream(ResolvePath(path), std::ios::binary);
  std::stringstream text;
  if (!stream || !(text << stream.rdbuf())) return absl::NotFoundError("cannot be read");
  return bench::ReadJson(text.str());
}

// What the flags say, checked.
struct Options {
  bench::Preset preset;
  std::optional<bench::OldResults> old;
};

absl::StatusOr<Options> ParseFlags(const Flags& flags, const Arguments& arguments) {
  Options options;
  absl::StatusOr<bench::Preset> preset = bench::FindPreset(flags.preset);
  if (!preset.ok()) return Bad(arguments, "--preset", preset.status().message());
  options.preset = *std::move(preset);
  if (!flags.cases.empty()) {
    const absl::Status selected = Select(flags.cases, options.preset.cases);
    if (!selected.ok()) return Bad(arguments, "--cases", selected.message());
  }
  if (!flags.seconds.empty()) {
    double seconds = 0;
    if (!absl::SimpleAtod(flags.seconds, &seconds) || !(seconds > 0 && seconds <= 600)) {
      return Bad(arguments, "--seconds", "not a number above 0 and up to 600");
    }
    options.preset.case_seconds = seconds;
  }
  const absl::Status backend = CheckBackendName(flags.backend, /*allow_auto=*/true);
  if (!backend.ok()) return Bad(arguments, "--backend", backend.message());
  if (!flags.json.empty()) {
    const absl::Status writable = CheckWritable(flags.json);
    if (!writable.ok()) return Bad(arguments, "--json", writable.message());
  }
  if (!flags.compare.empty()) {
    absl::StatusOr<bench::OldResults> old = ReadOld(flags.compare);
    if (!old.ok()) return Bad(arguments, "--compare", old.status().message());
    options.old = *std::move(old);
  }
  return options;
}

absl::StatusOr<std::shared_ptr<Backend>> OpenBackend(const std::string& name) {
  if (name != "auto") return Registry::Default().Create(name);
  std::string reasons;
  for (const BackendListing& listing : Registry::Default().List()) {
    if (!listing.devices.empty()) {
      return Registry::Default().Create(ToString(listing.devices.front().id));
    }
    absl::StrAppend(&reasons, "; ", listing.status.message());
  }
  return absl::UnavailableError(absl::StrCat("no backend here", reasons));
}

// So that two files can be told apart.
std::string Commit(const Flags& flags) {
  if (!flags.commit.empty()) return flags.commit;
  const char* const commit = std::getenv("WEFT_COMMIT");
  return commit == nullptr ? "" : commit;
}

int RunBench(const Flags& flags, const Options& options, std::shared_ptr<Backend> backend) {
  absl::StatusOr<std::unique_ptr<bench::Session>> session =
      bench::Session::Create(std::move(backend), options.preset);
  if (!session.ok()) return Report({kFailed, std::string(session.status().message())});
  constexpr int kWidth = 32;
  bench::RunOptions run;
  run.check = !flags.no_check;
  run.on_row = [](const bench::Row& row) {
    std::fputs(bench::TableLine(row, kWidth).c_str(), stderr);
  };
  absl::StatusOr<bench::Results> results = bench::RunCases(**session, run);
  if (!results.ok()) return Report({kFailed, std::string(results.status().message())});
  results->commit = Commit(flags);
  results->preset = flags.preset;
  std::fputs(bench::Table(*results).c_str(), stdout);
  if (options.old) {
    std::fputs(absl::StrCat("\n", bench::Comparison(*options.old, *results)).c_str(), stdout);
  }
  std::fflush(stdout);
  if (!flags.json.empty()) {
    const absl::Status written = WriteFile(flags.json, bench::Json(*results));
    if (!written.ok()) return Report({kFailed, std::string(written.message())});
  }
  int64_t failed = 0;
  for (const bench::Row& row : results->rows) failed += row.verdict == bench::Verdict::kFailed;
  if (failed == 0) return kOk;
  return Report({kFailed, absl::StrCat(failed, " rows failed")});
}

int Run(const Flags& flags, const Arguments& arguments) {
  const absl::StatusOr<Options> options = ParseFlags(flags, arguments);
  if (!options.ok()) return Report({kUsage, std::string(options.status().message())});
  if (flags.list) {
    for (const bench::Case& c : options->preset.cases) absl::PrintF("%s\n", c.full_name());
    return kOk;
  }
  absl::StatusOr<std::shared_ptr<Backend>> backend = OpenBackend(flags.backend);
  if (!backend.ok()) {
    return Report({CodeForBackendError(backend.status()),
                   absl::StrCat(arguments.AsTyped("--backend"), ": ", backend.status().message())});
  }
  return RunBench(flags, *options, *std::move(backend));
}

}  // namespace

Command BenchCommand(const Arguments& arguments) {
  auto flags = std::make_shared<Flags>();
  Command command;
  command.name = "bench";
  command.description = "Measure a device's operations beside what the device allows";
  command.flags = {
      {"--backend", "auto, cuda, vulkan, reference; vulkan:1, vulkan:llvmpipe (auto: the first)",
       &flags->backend},
      {"--cases", "only those whose group/name matches this regular expression", &flags->cases},
      {"--json", "write the results: FILE.json", &flags->json},
      {"--compare", "set the results beside those of FILE.json", &flags->compare},
      {"--list", "show the names of the cases and end", nullptr, &flags->list},
      {"--seconds", "time of measuring for each case (1)", &flags->seconds},
      {"--no-check", "measure without judging what is computed", nullptr, &flags->no_check},
      {"--preset", "full, or tiny: every kind of work for a software device (full)",
       &flags->preset},
      {"--commit", "what is measured, for the report (the environment's WEFT_COMMIT)",
       &flags->commit},
  };
  command.footer =
      "Rows come to stderr as they are measured, the table to stdout at the end.\n"
      "Examples:\n"
      "  weft bench --backend=cuda --cases='decode/b64' --json=new.json --compare=old.json\n"
      "  weft bench --backend=reference --preset=tiny";
  command.run = [flags, &arguments] { return Run(*flags, arguments); };
  return command;
}

}  // namespace weft::cli
