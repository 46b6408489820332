// SPDX-License-Identifier: Apache-2.0
//
// support_table                the support table of README.md, as the backends here answer it
// support_table README.md      fails if the file has another one between its two marks, or if a
// case
//                              behind a "yes" fails. Where a backend is absent there is nothing to
//                              compare with: a failure only if WEFT_REQUIRE_BACKENDS names it
//
// The reference and the Vulkan backend. What CUDA can do is said beside the table: a machine
// without a device cannot ask it.
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/backend.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "testing/conformance/features.h"
#include "vulkan/software_device.h"

namespace weft {
namespace {

using testing::Feature;
using testing::Support;

constexpr std::string_view kBegin = "<!-- support:begin -->\n";
constexpr std::string_view kEnd = "<!-- support:end -->";

using Backends = std::vector<std::pair<std::string, std::shared_ptr<Backend>>>;

absl::StatusOr<Backends> OpenAll() {
  Backends backends;
  for (const auto& [name, device] :
       {std::pair("reference (CPU)", "reference:0"), std::pair("Vulkan", "vulkan")}) {
    ASSIGN_OR_RETURN(std::shared_ptr<Backend> backend, Registry::Default().Create(device));
    backends.emplace_back(name, std::move(backend));
  }
  return backends;
}

// Runs the cases behind each "yes" if `check`.
absl::StatusOr<std::string> Table(const Backends& backends, bool check) {
  std::string head = "| |", line = "|---|";
  for (const auto& [name, backend] : backends) {
    absl::StrAppend(&head, " ", name, " |");
    absl::StrAppend(&line, "---|");
  }
  std::string table = absl::StrCat(head, "\n", line, "\n");
  for (const Feature& feature : testing::Features()) {
    absl::StrAppend(&table, "| ", feature.name, " |");
    for (const auto& [name, backend] : backends) {
      ASSIGN_OR_RETURN(const Support support, testing::SupportOf(*backend, feature));
      absl::StrAppend(&table, " ", testing::Name(support), " |");
      if (!check || support != Support::kYes) continue;
      RETURN_IF_ERROR(testing::CheckFeature(*backend, feature));
      std::cerr << name << ": " << feature.name << ": " << feature.parts.size() << " cases ran\n";
    }
    absl::StrAppend(&table, "\n");
  }
  return table;
}

absl::Status CheckFile(const std::string& path, const std::string& table) {
  std::ifstream file(path);
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string text = stream.str();
  const size_t begin = text.find(kBegin), end = text.find(kEnd);
  if (begin == std::string::npos || end == std::string::npos || end < begin) {
    return absl::NotFoundError(absl::StrCat(path, " has no support table"));
  }
  const std::string found = text.substr(begin + kBegin.size(), end - begin - kBegin.size());
  if (found == table) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, " has another support table than the backends give:\n", table));
}

int Main(int argc, char** argv) {
  vulkan::UseBundledSoftwareDevice().IgnoreError();
  const auto fail = [](const absl::Status& status) {
    std::cerr << status << "\n";
    return absl::IsUnavailable(status) ? 3 : 1;
  };
  const absl::StatusOr<Backends> backends = OpenAll();
  if (absl::IsUnavailable(backends.status()) && argc > 1 &&
      std::getenv("WEFT_REQUIRE_BACKENDS") == nullptr) {
    std::cerr << "not compared: " << backends.status().message() << "\n";
    return 0;
  }
  if (!backends.ok()) return fail(backends.status());
  const absl::StatusOr<std::string> table = Table(*backends, argc > 1);
  if (!table.ok()) return fail(table.status());
  if (argc == 1) {
    std::cout << *table;
    return 0;
  }
  const absl::Status same = CheckFile(argv[1], *table);
  return same.ok() ? 0 : fail(same);
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) { return weft::Main(argc, argv); }
