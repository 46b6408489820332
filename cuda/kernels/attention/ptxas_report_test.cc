// SPDX-License-Identifier: Apache-2.0
//
// What ptxas says of the kernels of attention: how many there are, and that those which matter most
// keep everything in registers. Needs the toolkit, no device.
#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cuda/kernels/attention/config.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

struct KernelReport {
  std::string name;  // mangled
  int registers = 0;
  int spill_bytes = 0;  // stored
};

std::vector<std::string>& ReportFiles() {
  static auto* const files = new std::vector<std::string>;
  return *files;
}

// The number before `what` in `line`.
int NumberBefore(std::string_view line, std::string_view what) {
  const size_t end = line.find(what);
  if (end == std::string_view::npos) return -1;
  const size_t begin = line.find_last_not_of("0123456789", end - 1);
  int number = 0;
  for (const char c : line.substr(begin + 1, end - begin - 1)) number = number * 10 + (c - '0');
  return number;
}

// By architecture.
std::map<std::string, std::vector<KernelReport>> ReadReports() {
  std::map<std::string, std::vector<KernelReport>> reports;
  for (const std::string& path : ReportFiles()) {
    std::ifstream file(path);
    EXPECT_TRUE(file.is_open()) << path;
    KernelReport* kernel = nullptr;
    for (std::string line; std::getline(file, line);) {
      if (absl::StrContains(line, "Compiling entry function")) {
        const std::vector<std::string> parts = absl::StrSplit(line, '\'');
        reports[parts[3]].push_back({parts[1]});
        kernel = &reports[parts[3]].back();
      } else if (kernel != nullptr && absl::StrContains(line, "bytes spill stores")) {
        kernel->spill_bytes = NumberBefore(line, " bytes spill stores");
      } else if (kernel != nullptr && absl::StrContains(line, "Used ")) {
        kernel->registers = NumberBefore(line, " registers");
      }
    }
  }
  return reports;
}

int CountInTable() {
#define WEFT_COUNT(...) +1
  return 2 * (0 WEFT_ATTENTION_INSTANCES(WEFT_COUNT)) +
         (0 WEFT_PLAIN_ATTENTION_INSTANCES(WEFT_COUNT)) + 3;  // and a merge for each head bucket
#undef WEFT_COUNT
}

TEST(PtxasReportTest, AllKernelsAreInTheTableAndTheyAreFew) {
  const auto reports = ReadReports();
  ASSERT_FALSE(reports.empty());
  for (const auto& [arch, kernels] : reports) {
    EXPECT_EQ(static_cast<int>(kernels.size()), CountInTable()) << arch;
    EXPECT_LE(kernels.size(), 54u) << arch;
  }
}

// All decodes, and prefills over a cache of the query's type. Those over fp8 caches spill some tens
// of bytes, and so does the one for heads of 64 on sm_80.
bool MustNotSpill(const std::string& arch, const KernelReport& kernel) {
  if (absl::StrContains(kernel.name, "DecodeKernel")) return true;
  if (!absl::StrContains(kernel.name, "KvKindE0E")) return false;  // KvKind::kSame is 0
  return arch != "sm_80" || !absl::StrContains(kernel.name, "Li64E");
}

TEST(PtxasReportTest, NamedKernelsSpillNothing) {
  for (const auto& [arch, kernels] : ReadReports()) {
    int looked_at = 0;
    for (const KernelReport& kernel : kernels) {
      EXPECT_GT(kernel.registers, 0) << kernel.name;
      if (!MustNotSpill(arch, kernel)) continue;
      ++looked_at;
      EXPECT_EQ(kernel.spill_bytes, 0) << kernel.name << " for " << arch;
    }
    // 12 decodes and 6 prefills.
    EXPECT_EQ(looked_at, arch == "sm_80" ? 16 : 18) << arch;
  }
}

// Several blocks of 64 threads share a multiprocessor, and shared memory must be what bounds them:
// three blocks of 128 dimensions of 16 bits, two of 256, five or six of the others.
int MostRegisters(const KernelReport& kernel) {
  if (absl::StrContains(kernel.name, "Li256E")) return 255;
  const bool same = absl::StrContains(kernel.name, "KvKindE0E");
  return same && absl::StrContains(kernel.name, "Li128E") ? 224 : 168;
}

// sm_80 widens fp8 in software, which takes more registers.
TEST(PtxasReportTest, DecodesLeaveRegistersForSeveralBlocks) {
  for (const auto& [arch, kernels] : ReadReports()) {
    for (const KernelReport& kernel : kernels) {
      if (arch == "sm_80" || !absl::StrContains(kernel.name, "DecodeKernel")) continue;
      EXPECT_LE(kernel.registers, MostRegisters(kernel)) << kernel.name << " for " << arch;
    }
  }
}

}  // namespace
}  // namespace weft::cuda

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) weft::cuda::ReportFiles().push_back(argv[i]);
  return RUN_ALL_TESTS();
}
