// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "testing/golden/golden_case.h"
#include "testing/golden/judges.h"

namespace weft::testing {

absl::Status JudgeGoldenCase(Backend& backend, const GoldenCase& golden) {
  if (golden.op == "unified") return JudgeUnified(backend, golden);
  if (golden.op == "chunked") return JudgeChunked(backend, golden);
  if (golden.op == "reshape") return JudgeReshape(backend, golden);
  if (golden.op == "correct") return JudgeCorrect(backend, golden);
  if (golden.op == "merge") return JudgeMerge(backend, golden);
  if (golden.op == "pack") return JudgePack(backend, golden);
  return absl::UnimplementedError(
      absl::StrCat("op ", absl::CEscape(golden.op).substr(0, 80),
                   ": no judge knows it (unified, chunked, reshape, correct, merge, pack)"));
}

}  // namespace weft::testing
