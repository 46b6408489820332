// SPDX-License-Identifier: Apache-2.0
//
// Properties that say of what a result must not depend.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "testing/conformance/attention_checks.h"
#include "testing/conformance/attention_runner.h"
#include "testing/conformance/property_tools.h"

namespace weft::testing {
namespace {

absl::Status CheckRepeat(Backend& backend, const AttentionCase& c) {
  return CheckSame(backend, c, {c});
}

absl::Status CheckPages(Backend& backend, const AttentionCase& c) {
  std::vector<AttentionCase> variations(2, c);
  variations[0].pages = c.pages + 1;
  variations[1].pages = c.pages + 2;
  variations[1].segments = c.segments + 2;
  return CheckSame(backend, c, variations);
}

absl::Status CheckPageSize(Backend& backend, const AttentionCase& c) {
  std::vector<AttentionCase> variations;
  for (int64_t size : {1, 3, 16, 17, 32, 64, 128, 544}) {
    variations.push_back(c);
    variations.back().block_size = size;
  }
  return CheckSame(backend, c, variations);
}

absl::Status CheckLayout(Backend& backend, const AttentionCase& c) {
  std::vector<AttentionCase> variations;
  for (LayoutKind layout :
       {LayoutKind::kNhd, LayoutKind::kHnd, LayoutKind::kSplitX, LayoutKind::kApart}) {
    variations.push_back(c);
    variations.back().layout = layout;
  }
  for (IoKind io : {IoKind::kStrided, IoKind::kOffset}) {
    variations.push_back(c);
    variations.back().io = io;
  }
  for (LseKind lse : {LseKind::kStrided, LseKind::kNone}) {
    variations.push_back(c);
    variations.back().lse = lse;
  }
  return CheckSame(backend, c, variations);
}

absl::Status CheckBatch(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput all, RunAttention(backend, c));
  AttentionCase reversed = c;
  std::reverse(reversed.requests.begin(), reversed.requests.end());
  ASSIGN_OR_RETURN(const AttentionOutput back, RunAttention(backend, reversed));
  int64_t row = 0;
  for (const CaseRequest& request : c.requests) {
    const AttentionOutput expected = RowsOf(c, all, row, request.new_tokens);
    row += request.new_tokens;
    RETURN_IF_ERROR(
        SameBits(c, expected, reversed, RowsOf(c, back, c.num_rows() - row, request.new_tokens)));
    AttentionCase alone = c;
    alone.requests = {request};
    ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, alone));
    RETURN_IF_ERROR(SameBits(c, expected, alone, actual));
  }
  return absl::OkStatus();
}

absl::Status CheckChunks(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput all, RunAttention(backend, c));
  int64_t row = 0;
  for (const CaseRequest& request : c.requests) {
    // Pieces of 1, of a length that fits no tile, and what remains.
    int64_t done = 0;
    for (int64_t piece : {int64_t{1}, int64_t{7}, request.new_tokens}) {
      piece = std::min(piece, request.new_tokens - done);
      if (piece <= 0) break;
      AttentionCase chunk = c;
      chunk.requests = {request};
      chunk.requests[0].context = request.context + done;
      chunk.requests[0].new_tokens = piece;
      ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, chunk));
      RETURN_IF_ERROR(SameBits(c, RowsOf(c, all, row + done, piece), chunk, actual));
      done += piece;
    }
    row += request.new_tokens;
  }
  return absl::OkStatus();
}

absl::Status CheckWorldSize(Backend& backend, const AttentionCase& c) {
  std::vector<AttentionCase> variations;
  for (int64_t ranks : {2, 3, 4}) {
    variations.push_back(c);
    variations.back().pcp = ranks;
  }
  return CheckSame(backend, c, variations);
}

// Rows before `from` of request `i` and all rows of others must keep their bits.
absl::Status CheckCausality(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput all, RunAttention(backend, c));
  int64_t row = 0;
  for (size_t i = 0; i < c.requests.size(); ++i) {
    const CaseRequest& request = c.requests[i];
    const int64_t seen = request.new_tokens / 2;  // rows that keep clear of the NaN
    for (const auto& [keys, values] : {std::pair(true, false), std::pair(false, true)}) {
      if (request.new_tokens < 2) break;
      AttentionCase poisoned = c;
      poisoned.nan_request = static_cast<int64_t>(i);
      poisoned.nan_from = request.context + seen;
      poisoned.nan_keys = keys;
      poisoned.nan_values = values;
      ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, poisoned));
      const int64_t end = row + request.new_tokens;
      RETURN_IF_ERROR(
          SameBits(c, RowsOf(c, all, 0, row + seen), poisoned, RowsOf(c, actual, 0, row + seen)));
      RETURN_IF_ERROR(SameBits(c, RowsOf(c, all, end, c.num_rows() - end), poisoned,
                               RowsOf(c, actual, end, c.num_rows() - end)));
    }
    row += request.new_tokens;
  }
  return absl::OkStatus();
}

absl::Status CheckIndependence(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionOutput all, RunAttention(backend, c));
  AttentionCase changed = c;
  const size_t i = c.requests.size() / 2;
  changed.requests[i].id += 1000;
  ASSIGN_OR_RETURN(const AttentionOutput actual, RunAttention(backend, changed));
  int64_t begin = 0;
  for (size_t j = 0; j < i; ++j) begin += c.requests[j].new_tokens;
  const int64_t end = begin + c.requests[i].new_tokens;
  const auto compare = [&](int64_t first, int64_t last) {
    return SameBits(c, RowsOf(c, all, first, last - first), changed,
                    RowsOf(c, actual, first, last - first));
  };
  RETURN_IF_ERROR(compare(0, begin));
  RETURN_IF_ERROR(compare(end, c.num_rows()));
  if (end > begin && compare(begin, end).ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("other data in request ", i, " changed nothing\n  case: ", c.ToString()));
  }
  return absl::OkStatus();
}

absl::Status CheckSteps(Backend& backend, const AttentionCase& c) {
  ASSIGN_OR_RETURN(const AttentionSteps steps, RunAttentionSteps(backend, c));
  for (int step = 0; step < 2; ++step) {
    ASSIGN_OR_RETURN(const AttentionOutput expected, RunAttention(backend, steps.cases[step]));
    for (int layer = 0; layer < 2; ++layer) {
      const absl::Status same =
          SameBits(steps.cases[step], expected, steps.cases[step], steps.outputs[step][layer]);
      if (same.ok()) continue;
      return absl::Status(same.code(),
                          absl::StrCat("step ", step, " of 2, layer ", layer,
                                       " of 2, all submitted at once: ", same.message()));
    }
  }
  return absl::OkStatus();
}

// What nobody may use holds something else, keys and values apart.
absl::Status CheckPoisonKinds(Backend& backend, const AttentionCase& c) {
  using Poison = PoisonKind;
  const std::pair<Poison, Poison> kinds[] = {{Poison::kNan, Poison::kZero},
                                             {Poison::kZero, Poison::kNan},
                                             {Poison::kInfinity, Poison::kBig},
                                             {Poison::kBig, Poison::kInfinity}};
  std::vector<AttentionCase> variations;
  for (const auto& [keys, values] : kinds) {
    variations.push_back(c);
    variations.back().poison_keys = keys;
    variations.back().poison_values = values;
    // Another tail of the block tables too, and other pages.
    variations.back().pages = c.pages + variations.size();
  }
  return CheckSame(backend, c, variations);
}

}  // namespace

const std::vector<AttentionProperty>& IndependenceProperties() {
  static const auto* const properties = new std::vector<AttentionProperty>{
      {"repeat", CheckRepeat},
      {"pages", CheckPages},
      {"page_size", CheckPageSize},
      {"layout", CheckLayout},
      {"batch", CheckBatch},
      {"chunks", CheckChunks},
      {"world_size", CheckWorldSize},
      {"causality", CheckCausality},
      {"independence", CheckIndependence},
      {"steps", CheckSteps},
      {"poison", CheckPoisonKinds},
  };
  return *properties;
}

}  // namespace weft::testing
