// SPDX-License-Identifier: Apache-2.0
//
// weft: replay a trace, show the devices, judge golden cases, picture a partition, measure.
#include <cstdio>
#include <exception>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tools/replay/text.h"
#include "tools/weft/command.h"
#include "vulkan/software_device.h"

namespace weft::cli {
namespace {

CLI::App* Add(CLI::App& app, const Command& command) {
  CLI::App* sub = app.add_subcommand(command.name, command.description);
  for (const Flag& flag : command.flags) {
    CLI::Option* option = flag.given != nullptr
                              ? sub->add_flag(flag.name, *flag.given, flag.help)
                              : sub->add_option(flag.name, *flag.value, flag.help);
    if (flag.given != nullptr) option->disable_flag_override();
    option->required(flag.required);
  }
  sub->footer(command.footer);
  return sub;
}

// One line for what CLI11 found wrong, with the flag as it was typed.
std::string Explain(const CLI::ParseError& error, const Arguments& arguments) {
  const std::string said = error.what();
  const std::vector<std::string>& tokens = arguments.tokens();
  const auto code = static_cast<CLI::ExitCodes>(error.get_exit_code());
  if (code == CLI::ExitCodes::ExtrasError) {
    return absl::StrCat("unknown argument ", replay::Shown(said.substr(said.rfind(": ") + 2)));
  }
  if (code == CLI::ExitCodes::RequiredError && absl::StrContains(said, "subcommand")) {
    if (tokens.empty()) return "a command is needed; weft --help lists them";
    return absl::StrCat("no such command: ", replay::Shown(tokens.front()));
  }
  for (const std::string& token : tokens) {
    if (!absl::StartsWith(token, "--")) continue;
    const std::string name = token.substr(0, token.find('='));
    if (name.size() == 2 || !absl::StrContains(said, name.substr(2))) continue;
    if (absl::StrContains(said, "flag override")) {
      return absl::StrCat(replay::Shown(token), ": takes no value");
    }
    if (absl::StrContains(said, "missing")) return absl::StrCat(replay::Shown(token), ": no value");
    if (absl::StrContains(said, "At Most 1")) {
      return absl::StrCat(arguments.AsTyped(name), ": given more than once");
    }
  }
  return replay::Shown(said);
}

int Main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  CLI::App app("Paged attention for LLM inference on CUDA and Vulkan devices.", "weft");
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 ok, 1 failed, 2 bad usage or input, 3 a backend that is absent here.\n"
      "weft COMMAND --help says more.");
  std::vector<std::pair<CLI::App*, std::function<int()>>> commands;
  for (const auto make :
       {ReplayCommand, InfoCommand, CheckCommand, PartitionCommand, BenchCommand}) {
    Command command = make(arguments);
    CLI::App* sub = Add(app, command);
    commands.emplace_back(sub, std::move(command.run));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream help, ignored;
    if (app.exit(error, help, ignored) != 0) return Report({kUsage, Explain(error, arguments)});
    std::fputs(help.str().c_str(), stdout);
    return kOk;
  }
  for (const auto& [sub, run] : commands) {
    if (sub->parsed()) return run();
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
