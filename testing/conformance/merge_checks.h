// SPDX-License-Identifier: Apache-2.0
//
// MergeStates: against float64, and its algebra.
//
//   merge dtype=f16 out=f8e4m3 rows=9 heads=3 d=33 seed=1 sinks=some io=strided alias=a
#ifndef WEFT_TESTING_CONFORMANCE_MERGE_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_MERGE_CHECKS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

enum class AliasKind : int { kNone, kA, kB };  // out and lse are those of a state

struct MergeCase {
  DType dtype = DType::kF32;
  DType out = DType::kF32;
  int64_t rows = 9;
  int64_t heads = 3;
  int64_t head_size = 64;
  bool sinks = false;
  LseKind lse = LseKind::kDense;
  IoKind io = IoKind::kDense;
  AliasKind alias = AliasKind::kNone;
  Place place = Place::kDevice;
  uint64_t seed = 1;

  std::string ToString() const;
  static absl::StatusOr<MergeCase> Parse(std::string_view line);
};

// Rows hold in turn: two states of like weight; one empty (LSE -inf or +inf, its output NaN), the
// other, both; LSEs 200 apart, both ways; LSEs of -1000; a NaN in an output, which stays there.
absl::Status CheckMerge(Backend& backend, const MergeCase& c);

// Identity on both sides, commutative, duplicates add log 2, 200 apart gives the larger, empty
// states stay so, in place = out of place; nearly associative.
absl::Status CheckMergeAlgebra(Backend& backend);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_MERGE_CHECKS_H_
