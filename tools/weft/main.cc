// SPDX-License-Identifier: Apache-2.0
//
// weft: replay a trace, show the devices, judge golden cases, picture a partition.
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "tools/weft/command.h"
#include "vulkan/software_device.h"

namespace weft::cli {
namespace {

int Main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  CLI::App app("Paged attention for LLM inference on CUDA and Vulkan devices.", "weft");
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 ok, 1 failed, 2 bad usage or input, 3 a backend that is absent here.\n"
      "weft COMMAND --help says more.");
  std::vector<std::pair<CLI::App*, Runner>> commands;
  for (const auto add : {AddReplay, AddInfo, AddCheck, AddPartition}) {
    CLI::App* command = nullptr;
    Runner runner = add(app, arguments, &command);
    commands.emplace_back(command, std::move(runner));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream help, ignored;
    if (app.exit(error, help, ignored) != 0) return Report({kUsage, arguments.Explain(error)});
    std::fputs(help.str().c_str(), stdout);
    return kOk;
  }
  for (const auto& [command, runner] : commands) {
    if (command->parsed()) return runner();
  }
  return Report({kUsage, "no command given"});
}

}  // namespace
}  // namespace weft::cli

// weft itself throws nothing; what its libraries throw must not leave as a crash.
int main(int argc, char** argv) {
  // Not OK where this build carries no software device: then there are the system's devices only.
  weft::vulkan::UseBundledSoftwareDevice().IgnoreError();
  try {
    return weft::cli::Main(argc, argv);
  } catch (const std::exception& error) {
    return weft::cli::Report({weft::cli::kFailed, absl::StrCat("internal error: ", error.what())});
  }
}
