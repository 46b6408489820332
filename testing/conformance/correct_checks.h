// SPDX-License-Identifier: Apache-2.0
//
// CorrectAttnOut: against float64, and the table of docs/pcp_spec.md, 8.1.
//
//   correct dtype=f16 n=4 rank=2 rows=5 heads=3 d=33 base=2 sinks=some io=strided seed=1
#ifndef WEFT_TESTING_CONFORMANCE_CORRECT_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_CORRECT_CHECKS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "core/queue.h"
#include "testing/conformance/attention_case.h"

namespace weft::testing {

struct CorrectCase {
  DType dtype = DType::kF32;
  int64_t ranks = 2;
  int64_t rank = 0;
  int64_t rows = 7;
  int64_t heads = 3;
  int64_t head_size = 64;
  LseBase base = LseBase::kE;
  bool sinks = false;
  bool strided = false;  // every axis of every tensor, the last too
  bool in_place = false;
  bool want_lse = true;
  Place place = Place::kDevice;
  uint64_t seed = 1;

  std::string ToString() const;
  static absl::StatusOr<CorrectCase> Parse(std::string_view line);
};

// Some LSEs are -inf, +inf or NaN; where the own factor is 0 the output holds NaN.
absl::Status CheckCorrect(Backend& backend, const CorrectCase& c);

absl::Status CheckCorrectTable(Backend& backend);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_CORRECT_CHECKS_H_
