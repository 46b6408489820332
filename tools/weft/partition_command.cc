// SPDX-License-Identifier: Apache-2.0
//
// weft partition: who computes which rows of a step.
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/pcp_partition.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "tools/replay/text.h"
#include "tools/weft/command.h"

namespace weft::cli {
namespace {

// More than any step has, and still arrays that fit memory.
constexpr int64_t kMaxPaddedTokens = int64_t{1} << 24;
constexpr int64_t kMaxRanks = 1024;

struct Flags {
  std::string pcp, threshold = "1", tokens, computed;
  bool json = false;
};

nlohmann::ordered_json ToJson(const PcpPartition& partition) {
  nlohmann::ordered_json json;
  json["local_total"] = partition.local_total();
  json["padded_total"] = partition.padded_total();
  json["local_num_scheduled"] = partition.LocalNumScheduled();
  json["restore_idx"] = partition.RestoreIndex();
  json["unpad_mask"] = partition.UnpadMask();
  json["ranks"] = nlohmann::ordered_json::array();
  for (int64_t rank = 0; rank < partition.world_size(); ++rank) {
    std::vector<int64_t> positions, requests;
    std::vector<bool> is_padding;
    for (const PcpRow& row : partition.Rows(rank)) {
      positions.push_back(row.position);
      requests.push_back(row.request);
      is_padding.push_back(row.is_padding);
    }
    nlohmann::ordered_json entry;
    entry["rank"] = rank;
    entry["positions"] = std::move(positions);
    entry["request_indices"] = std::move(requests);
    entry["is_padding"] = std::move(is_padding);
    json["ranks"].push_back(std::move(entry));
  }
  return json;
}

absl::StatusOr<PcpPartition> Build(const Flags& flags, const Arguments& arguments) {
  constexpr int64_t kMaxTokens = int64_t{1} << 30;
  ASSIGN_OR_RETURN(const int64_t world_size, arguments.Int("--pcp", flags.pcp, 1, kMaxRanks));
  ASSIGN_OR_RETURN(const int64_t threshold,
                   arguments.Int("--threshold", flags.threshold, 1, kMaxTokens));
  ASSIGN_OR_RETURN(const std::vector<int64_t> tokens,
                   arguments.IntList("--tokens", flags.tokens, 0, kMaxTokens));
  std::vector<int64_t> computed(tokens.size(), 0);
  if (!flags.computed.empty()) {
    ASSIGN_OR_RETURN(computed, arguments.IntList("--computed", flags.computed, 0, kMaxTokens));
  }
  if (computed.size() != tokens.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(arguments.AsTyped("--computed"), ": ", computed.size(), " numbers for the ",
                     tokens.size(), " of ", arguments.AsTyped("--tokens")));
  }
  PcpLimits limits;
  limits.max_padded_tokens = kMaxPaddedTokens;
  absl::StatusOr<PcpPartition> partition =
      PcpPartition::BuildFromArrays(tokens, computed, threshold, world_size, limits);
  if (partition.ok()) return partition;
  return absl::Status(partition.status().code(), absl::StrCat(arguments.AsTyped("--tokens"), ": ",
                                                              partition.status().message()));
}

int Run(const Flags& flags, const Arguments& arguments) {
  const absl::StatusOr<PcpPartition> partition = Build(flags, arguments);
  if (!partition.ok()) return Report({kUsage, std::string(partition.status().message())});
  const std::string text =
      flags.json ? absl::StrCat(ToJson(*partition).dump(), "\n") : partition->ToString();
  std::fputs(text.c_str(), stdout);
  return kOk;
}

}  // namespace

Command PartitionCommand(const Arguments& arguments) {
  auto flags = std::make_shared<Flags>();
  Command command;
  command.name = "partition";
  command.description = "Show which rank computes which rows of a step";
  command.flags = {
      {"--pcp", "ranks", &flags->pcp, nullptr, /*required=*/true},
      {"--threshold", "most new tokens of a decode (1)", &flags->threshold},
      {"--tokens", "new tokens of each request: 1,5,8", &flags->tokens, nullptr, true},
      {"--computed", "computed tokens of each request (all 0)", &flags->computed},
      {"--json", "one JSON object on stdout", nullptr, &flags->json},
  };
  command.footer =
      "Decodes (at most --threshold new tokens, and some computed) must come first.\n"
      "Example: weft partition --pcp=2 --tokens=1,5,8 --computed=10,0,0";
  command.run = [flags, &arguments] { return Run(*flags, arguments); };
  return command;
}

}  // namespace weft::cli
