// SPDX-License-Identifier: Apache-2.0
//
// weft check: a backend against the golden cases of a directory.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "core/registry.h"
#include "testing/golden/golden_case.h"
#include "tools/weft/command.h"

namespace weft::cli {
namespace {

struct Flags {
  std::string golden, backend;
};

int Run(const Flags& flags, const Arguments& arguments) {
  if (absl::Status status = CheckBackendName(flags.backend, /*allow_auto=*/false); !status.ok()) {
    return Report({kUsage, absl::StrCat(arguments.AsTyped("--backend"), ": ", status.message())});
  }
  const absl::StatusOr<std::vector<testing::GoldenCase>> cases =
      testing::ReadManifest(ResolvePath(flags.golden));
  if (!cases.ok()) {
    return Report(
        {kUsage, absl::StrCat(arguments.AsTyped("--golden"), ": ", cases.status().message())});
  }
  const absl::StatusOr<std::shared_ptr<Backend>> backend =
      Registry::Default().Create(flags.backend);
  if (!backend.ok()) {
    return Report({CodeForBackendError(backend.status()),
                   absl::StrCat(arguments.AsTyped("--backend"), ": ", backend.status().message())});
  }
  int64_t passed = 0, failed = 0;
  for (const testing::GoldenCase& golden : *cases) {
    const absl::Status verdict = testing::JudgeGoldenCase(**backend, golden);
    ++(verdict.ok() ? passed : failed);
    absl::PrintF("%s %s%s\n", verdict.ok() ? "pass" : "FAIL", golden.name,
                 verdict.ok()
                     ? ""
                     : absl::StrCat(": ", absl::StrReplaceAll(verdict.message(), {{"\n", "; "}})));
  }
  absl::PrintF("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? kOk : kFailed;
}

}  // namespace

Command CheckCommand(const Arguments& arguments) {
  auto flags = std::make_shared<Flags>();
  Command command;
  command.name = "check";
  command.description = "Judge a backend by golden cases";
  command.flags = {
      {"--golden", "directory with manifest.json", &flags->golden, nullptr, /*required=*/true},
      {"--backend", "cuda, vulkan, reference; vulkan:1, vulkan:llvmpipe", &flags->backend, nullptr,
       true},
  };
  command.footer = "Example: weft check --golden=testing/golden --backend=vulkan";
  command.run = [flags, &arguments] { return Run(*flags, arguments); };
  return command;
}

}  // namespace weft::cli
