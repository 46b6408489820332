// SPDX-License-Identifier: Apache-2.0
//
// The judges of JudgeGoldenCase, one for each op of a manifest.
#ifndef WEFT_TESTING_GOLDEN_JUDGES_H_
#define WEFT_TESTING_GOLDEN_JUDGES_H_

#include "absl/status/status.h"
#include "core/backend.h"
#include "testing/golden/golden_case.h"

namespace weft::testing {

absl::Status JudgeUnified(Backend& backend, const GoldenCase& golden);
absl::Status JudgeChunked(Backend& backend, const GoldenCase& golden);
absl::Status JudgeReshape(Backend& backend, const GoldenCase& golden);
absl::Status JudgeCorrect(Backend& backend, const GoldenCase& golden);
absl::Status JudgeMerge(Backend& backend, const GoldenCase& golden);
absl::Status JudgePack(Backend& backend, const GoldenCase& golden);

}  // namespace weft::testing

#endif  // WEFT_TESTING_GOLDEN_JUDGES_H_
