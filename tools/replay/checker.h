// SPDX-License-Identifier: Apache-2.0
//
// Checker: holds sampled answers of the device against the float64 oracle, which makes all keys,
// values and queries anew from Content and never looks at the device.
#ifndef WEFT_TOOLS_REPLAY_CHECKER_H_
#define WEFT_TOOLS_REPLAY_CHECKER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "core/attention_spec.h"
#include "tools/replay/content.h"
#include "tools/replay/step_work.h"

namespace weft::replay {

// Samples of a checked step, if it has as many (row, head) pairs.
inline constexpr int64_t kSamplesPerStep = 64;

class Checker {
 public:
  // `content` must outlive the checker. `kinds`: layer i is kinds[i % size]; all have the same
  // heads. `run` reproduces the run when it is typed in; it stands at the front of a mismatch's
  // one-line case.
  // `dcp`: ranks that share out heads and cache; 1 where all have all heads.
  Checker(const Content& content, std::vector<AttentionSpec> kinds, int64_t num_layers, int64_t dcp,
          uint64_t seed, std::string run);

  // Decodes and prefills, the first and last row of each request's part of the step, both sides of
  // each chunk edge between ranks, and rows by chance; layer and head by chance. `work.samples` is
  // not looked at. Deterministic.
  std::vector<Sample> Choose(const StepWork& work) const;

  // One message for each of the work's samples that is beyond the tolerance of the dtype: the
  // worst element with both values, and the one-line case. `restored` are all rows of the last
  // layer, whose samples are judged there: that judges the way through RestoreHiddenStates too.
  std::vector<std::string> Judge(const StepWork& work, absl::Span<const SampleAnswer> answers,
                                 absl::Span<const uint8_t> restored) const;

 private:
  const AttentionSpec& KindOf(int64_t layer) const { return kinds_[layer % kinds_.size()]; }
  std::string CaseLine(const StepWork& work, const Sample& sample) const;

  const Content* content_;
  std::vector<AttentionSpec> kinds_;
  int64_t num_layers_;
  int64_t dcp_;
  uint64_t seed_;
  std::string run_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_CHECKER_H_
