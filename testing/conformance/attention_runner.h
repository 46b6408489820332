// SPDX-License-Identifier: Apache-2.0
//
// Runs an AttentionCase the way an engine does (metadata, partition, plan, step buffers, Forward),
// with poison in everything that must not be used.
#ifndef WEFT_TESTING_CONFORMANCE_ATTENTION_RUNNER_H_
#define WEFT_TESTING_CONFORMANCE_ATTENTION_RUNNER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

// In the order of the step's tokens, whatever the number of ranks.
struct AttentionOutput {
  std::vector<uint8_t> out;  // [rows, heads, head_size]
  std::vector<uint8_t> lse;  // f32 [rows, heads]; empty if the case wants none
  // PreparedAttention::weight_dtype() of the layer that was run.
  DType weights = DType::kF32;
};

// Beside returning the result it checks everything that holds for any kernel: the cache holds the
// new tokens and nothing else has changed in it, padding rows are 0 and -inf, the rest of out and
// lse is untouched, ranks agree on replicated rows. FAILED_PRECONDITION says which of these is
// broken, with the case. UNIMPLEMENTED: the backend does not support it.
absl::StatusOr<AttentionOutput> RunAttention(Backend& backend, const AttentionCase& c);

// `c` (of one rank) as an engine would run it in two steps of two alike layers: one queue, one
// StepBuffers, all recorded before anything is submitted. So every table and the workspace are
// written again while the device may still read them, and the second step reads keys that the first
// one has written.
struct AttentionSteps {
  AttentionCase cases[2];         // what each step is, alone
  AttentionOutput outputs[2][2];  // [step][layer]
};
absl::StatusOr<AttentionSteps> RunAttentionSteps(Backend& backend, const AttentionCase& c);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_ATTENTION_RUNNER_H_
