// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/workload.h"

#include <algorithm>

#include "core/checked_math.h"
#include "tools/bench/attention_workload.h"
#include "tools/bench/gather_workload.h"
#include "tools/bench/reshape_workload.h"
#include "tools/bench/state_workload.h"

namespace weft::bench {

int64_t SetsFor(const Session& session, int64_t bytes) {
  constexpr int64_t kMaxSets = 512;
  return std::clamp<int64_t>(CeilDiv(session.preset().rotation_bytes, std::max<int64_t>(bytes, 1)),
                             1, kMaxSets);
}

absl::StatusOr<std::unique_ptr<Workload>> MakeWorkload(Session& session, const Case& c) {
  switch (c.kind) {
    case CaseKind::kAttention:
    case CaseKind::kHostForward:
      return AttentionWorkload::Create(session, c);
    case CaseKind::kCorrectAttnOut:
      return MakeCorrectWorkload(session, c);
    case CaseKind::kMergeAttnStates:
      return MakeMergeWorkload(session, c);
    case CaseKind::kPack:
    case CaseKind::kUnpack:
      return MakeGatherWorkload(session, c);
    case CaseKind::kReshapeAndCache:
      return MakeReshapeWorkload(session, c);
  }
  return absl::InternalError("a case of no kind");
}

}  // namespace weft::bench
