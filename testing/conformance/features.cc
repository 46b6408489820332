// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/features.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/status_macros.h"
#include "testing/conformance/attention_case.h"
#include "testing/conformance/case_line.h"
#include "testing/conformance/cases.h"

namespace weft::testing {

const std::vector<Feature>& Features() {
  static const auto* const features = new std::vector<Feature>{
      {"`Attention`: paged, causal by absolute positions, prefill and decode; f16, bf16, f32",
       {"attention dtype=f16", "attention dtype=bf16", "attention dtype=f32"}},
      {"head sizes 32 to 256, multiples of 16 or not",
       {"attention d=32", "attention d=33", "attention d=46", "attention d=80", "attention d=200",
        "attention d=256"}},
      {"any GQA ratio",
       {"attention heads=2/2", "attention heads=4/2", "attention heads=3/1", "attention heads=4/1",
        "attention heads=5/1", "attention heads=6/1", "attention heads=7/1", "attention heads=16/2",
        "attention heads=16/1", "attention heads=64/1"}},
      {"any block size, 1 to 544 tested",
       {"attention block=1", "attention block=3", "attention block=17", "attention block=32",
        "attention block=64", "attention block=128", "attention block=544"}},
      {"cache layouts NHD, HND, split by x (5-D keys, 4-D values), any strides; several segments",
       {"attention layout=hnd", "attention layout=x", "attention layout=apart",
        "attention segments=3"}},
      {"LSE of any strides, or none", {"attention lse=strided", "attention lse=none"}},
      {"fp8 caches, e4m3 and e5m2; scales for the tensor or for each head",
       {"attention kv=f8e4m3", "attention kv=f8e5m2", "attention kv=f8e4m3 scales=tensor",
        "attention kv=f8e4m3 scales=head", "attention kv=f8e5m2 scales=head"}},
      {"fp8 query", {"attention query=f8e4m3 kv=f8e4m3", "attention query=f8e4m3 kv=f8e5m2"}},
      {"output in f32, or quantised to fp8 in the same kernel",
       {"attention out=f32", "attention out=f8e4m3"}},
      {"softcap", {"attention softcap=20"}},
      {"ALiBi", {"attention alibi=some"}},
      {"sliding window; blocks before it may be freed",
       {"attention window=1", "attention window=17", "attention evict=yes"}},
      {"sinks", {"attention sinks=some"}},
      {"softcap, ALiBi and sinks together", {"attention softcap=20 alibi=some sinks=some"}},
      {"partial states: context only, new tokens only, merged",
       {"attention keys=context", "attention keys=new", "attention keys=split"}},
      {"KV sharing; decodes or prefills alone",
       {"attention keys=shared", "attention rows=decodes", "attention rows=prefills"}},
      {"PCP: the rows of a rank", {"attention pcp=2", "attention pcp=3", "attention pcp=4"}},
      {"`ReshapeAndCache`: f16, bf16, f32, into any layout",
       {"reshape dtype=f16", "reshape dtype=bf16", "reshape dtype=f32", "reshape layout=x",
        "reshape layout=apart"}},
      {"`ReshapeAndCache` into fp8, with scales",
       {"reshape cache=f8e4m3 scales=head", "reshape cache=f8e5m2 scales=head"}},
      {"`MergeStates`, in place or not, with sinks, into fp8",
       {"merge dtype=f16 sinks=some", "merge dtype=f32 lse=strided", "merge out=f8e4m3",
        "merge alias=a"}},
      {"`CorrectAttnOut`: any N, D and strides, base e and 2, with sinks",
       {"correct n=9", "correct d=33", "correct io=strided", "correct base=2",
        "correct sinks=some"}},
      {"`QuantizeFp8`", {"quantize to=f8e4m3", "quantize to=f8e5m2", "quantize scales=head"}},
      {"`GatherRows` (pack, unpack, restore, padding)",
       {"gather dtype=f16", "gather dtype=f32", "gather dtype=i64", "gather dtype=u8"}},
  };
  return *features;
}

absl::StatusOr<std::string> LineWith(std::string_view words) {
  static const auto* const lines = new std::vector<std::string>(CaseLines());
  const std::vector<std::string_view> wanted = absl::StrSplit(words, ' ');
  for (const std::string& line : *lines) {
    const std::vector<std::string_view> has = absl::StrSplit(line, ' ');
    const bool all = std::all_of(wanted.begin(), wanted.end(), [&](std::string_view word) {
      return std::find(has.begin(), has.end(), word) != has.end();
    });
    if (all) return line;
  }
  return absl::NotFoundError(absl::StrCat("no case has \"", words, "\""));
}

std::string_view Name(Support support) {
  switch (support) {
    case Support::kYes:
      return "yes";
    case Support::kPartly:
      return "in part";
    case Support::kNo:
      return "not yet";
  }
  return "?";
}

absl::StatusOr<Support> SupportOf(Backend& backend, const Feature& feature) {
  size_t yes = 0;
  for (std::string_view words : feature.parts) {
    ASSIGN_OR_RETURN(const std::string line, LineWith(words));
    absl::Status status;
    if (CaseOp(line) == "attention") {
      ASSIGN_OR_RETURN(const AttentionCase c, AttentionCase::Parse(line));
      ASSIGN_OR_RETURN(const KvCacheLayout layout, c.Layout());
      status = backend.Supports(c.Spec(), layout);
    } else {
      status = CheckCaseLine(backend, line);
    }
    if (!status.ok() && !absl::IsUnimplemented(status)) return status;
    yes += status.ok() ? 1 : 0;
  }
  if (yes == feature.parts.size()) return Support::kYes;
  return yes > 0 ? Support::kPartly : Support::kNo;
}

absl::Status CheckFeature(Backend& backend, const Feature& feature) {
  for (std::string_view words : feature.parts) {
    ASSIGN_OR_RETURN(const std::string line, LineWith(words));
    const absl::Status status = CheckCaseLine(backend, line);
    if (status.ok()) continue;
    return absl::Status(status.code(),
                        absl::StrCat(feature.name, ": ", status.message(), "\n  case: ", line));
  }
  return absl::OkStatus();
}

}  // namespace weft::testing
