// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/cases.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::bench {
namespace {

constexpr int64_t kKi = 1024;

Case Decode(std::string name, int64_t batch, int64_t context) {
  Case c;
  c.name = std::move(name);
  c.group = Group::kDecode;
  c.requests = {{batch, RequestKind::kDecode, 1, context - 1}};
  return c;
}

Case Prefill(std::string name, int64_t batch, int64_t new_tokens, int64_t context = 0) {
  Case c;
  c.name = std::move(name);
  c.group = Group::kPrefill;
  c.requests = {{batch, RequestKind::kPrefill, new_tokens, context}};
  return c;
}

Case Heads(Case c, int64_t num_heads, int64_t num_kv_heads, int64_t head_size) {
  c.num_heads = num_heads;
  c.num_kv_heads = num_kv_heads;
  c.head_size = head_size;
  return c;
}

Case Small(std::string name, CaseKind kind, int64_t rows) {
  Case c;
  c.name = std::move(name);
  c.group = Group::kSmall;
  c.kind = kind;
  c.rows = rows;
  return c;
}

void AddDecodes(std::vector<Case>& cases) {
  cases.push_back(Decode("b1_8k", 1, 8 * kKi));
  cases.push_back(Decode("b1_128k", 1, 128 * kKi));
  cases.push_back(Decode("b16_8k", 16, 8 * kKi));
  cases.push_back(Decode("b64_8k", 64, 8 * kKi));
  cases.push_back(Decode("b256_2k", 256, 2 * kKi));
  cases.push_back(Decode("b64_8k_fp8kv", 64, 8 * kKi));
  cases.back().kv_dtype = DType::kF8E4M3;
  cases.push_back(Heads(Decode("tp8_b64_8k", 64, 8 * kKi), 8, 1, 128));
  cases.push_back(Heads(Decode("mha_b64_4k", 64, 4 * kKi), 32, 32, 128));
  cases.push_back(Heads(Decode("d64_b64_4k", 64, 4 * kKi), 32, 8, 64));
  cases.push_back(Heads(Decode("d256_b64_4k", 64, 4 * kKi), 32, 8, 256));
}

void AddPrefills(std::vector<Case>& cases) {
  cases.push_back(Prefill("1x8k", 1, 8 * kKi));
  cases.push_back(Prefill("1x32k", 1, 32 * kKi));
  cases.push_back(Prefill("8x2k", 8, 2 * kKi));
  cases.push_back(Prefill("2k_over_32k", 1, 2 * kKi, 32 * kKi));
  cases.push_back(Heads(Prefill("d64_8k", 1, 8 * kKi), 32, 8, 64));
  cases.push_back(Heads(Prefill("d256_8k", 1, 8 * kKi), 32, 8, 256));
  cases.push_back(Prefill("window4096_32k", 1, 32 * kKi));
  cases.back().window = 4 * kKi;
  cases.push_back(Prefill("softcap_8k", 1, 8 * kKi));
  cases.back().softcap = 50.0f;
  cases.back().scale =
      0.25f;  // logits so small that the cap shows in no result would prove nothing
  cases.push_back(Prefill("mixed", 1, 2 * kKi));
  cases.back().requests.insert(cases.back().requests.begin(),
                               {63, RequestKind::kDecode, 1, 4 * kKi - 1});
}

void AddSmallOperations(std::vector<Case>& cases) {
  for (const int64_t rows : {int64_t{4096}, int64_t{64}}) {
    for (const int64_t ranks : {int64_t{2}, int64_t{4}, int64_t{8}}) {
      cases.push_back(
          Small(absl::StrCat("correct_b", rows, "_n", ranks), CaseKind::kCorrectAttnOut, rows));
      cases.back().ranks = ranks;
    }
  }
  cases.push_back(Small("merge_4096", CaseKind::kMergeAttnStates, 4096));
  for (const CaseKind kind : {CaseKind::kPack, CaseKind::kUnpack}) {
    cases.push_back(Small(kind == CaseKind::kPack ? "pack" : "unpack", kind, 256));
    cases.back().num_heads = 1;
    cases.back().head_size = 1024;
    cases.back().max_length = 2 * kKi;
  }
  cases.push_back(Small("reshape_8k", CaseKind::kReshapeAndCache, 8 * kKi));
  cases.push_back(Small("reshape_8k_fp8", CaseKind::kReshapeAndCache, 8 * kKi));
  cases.back().kv_dtype = DType::kF8E4M3;
}

Preset Full() {
  Preset preset;
  AddDecodes(preset.cases);
  AddPrefills(preset.cases);
  AddSmallOperations(preset.cases);
  Case host = Decode("forward", 1, 257);
  host.group = Group::kHost;
  host.kind = CaseKind::kHostForward;
  preset.cases.push_back(std::move(host));
  preset.rotation_bytes = int64_t{256} << 20;
  // A prime number of vectors: no two pages of a pool hold the same.
  preset.noise_bytes = int64_t{256} * 65521;
  preset.copy_bytes = int64_t{4} << 30;
  preset.matmul_size = 8192;
  preset.checked_keys = 2000000;
  preset.warm_up_seconds = 1.0;
  preset.idle_seconds = 2.0;
  preset.warm_seconds = 2.0;
  preset.case_seconds = 1.0;
  return preset;
}

// Lengths and batches shrink, heads by four; every kernel is still taken.
Case Shrunk(Case c) {
  constexpr int64_t kMaxBatch = 3, kLength = 128;
  const auto shrink = [](int64_t tokens) {
    return tokens <= 1 ? tokens : std::max<int64_t>(tokens / kLength, 7);
  };
  if (c.num_kv_heads % 4 == 0) {
    c.num_heads /= 4;
    c.num_kv_heads /= 4;
  }
  for (CaseRequests& requests : c.requests) {
    requests.count = std::min(requests.count, kMaxBatch);
    requests.new_tokens = shrink(requests.new_tokens);
    requests.computed_tokens = shrink(requests.computed_tokens);
  }
  c.window = shrink(c.window);
  const bool packs = c.kind == CaseKind::kPack || c.kind == CaseKind::kUnpack;
  c.rows = packs ? kMaxBatch : c.rows / kLength;
  if (c.group == Group::kSmall) c.rows = std::max<int64_t>(c.rows, 2);
  c.max_length = shrink(c.max_length);
  return c;
}

Preset Tiny() {
  Preset preset = Full();
  for (Case& c : preset.cases) c = Shrunk(std::move(c));
  preset.rotation_bytes = int64_t{64} << 10;
  preset.noise_bytes = int64_t{256} * 251;
  preset.copy_bytes = int64_t{1} << 20;
  preset.matmul_size = 256;
  preset.checked_keys = 2000;
  preset.warm_up_seconds = 0.0;
  preset.idle_seconds = 0.0;
  preset.warm_seconds = 0.0;
  preset.case_seconds = 0.001;
  return preset;
}

}  // namespace

std::string_view Name(Group group) {
  switch (group) {
    case Group::kDecode:
      return "decode";
    case Group::kPrefill:
      return "prefill";
    case Group::kSmall:
      return "small";
    case Group::kHost:
      return "host";
    case Group::kCeiling:
      return "ceiling";
  }
  return "?";
}

std::string Case::full_name() const { return absl::StrCat(Name(group), "/", name); }

absl::StatusOr<Preset> FindPreset(std::string_view name) {
  if (name == "full") return Full();
  if (name == "tiny") return Tiny();
  return absl::InvalidArgumentError("no such preset; there are full and tiny");
}

}  // namespace weft::bench
