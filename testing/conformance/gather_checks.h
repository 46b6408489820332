// SPDX-License-Identifier: Apache-2.0
//
// GatherRows: bit-exact, -1 (and what is outside) gives the fill, and nothing else is written.
//
//   gather dtype=bf16 inner=3,5 source=10 rows=17 holes=3 fill=2 seed=1
#ifndef WEFT_TESTING_CONFORMANCE_GATHER_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_GATHER_CHECKS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/dtype.h"

namespace weft::testing {

struct GatherCase {
  DType dtype = DType::kF16;
  std::vector<int64_t> inner = {8};  // extents of a row; none: a row is one element
  int64_t source_rows = 10;
  int64_t rows = 17;
  int64_t holes = 0;  // indices -1
  int64_t bad = 0;    // indices outside the source otherwise
  int64_t fill = 0;
  int64_t offset = 0;  // elements by which the tensors stand off an aligned address
  bool strided = false;
  uint64_t seed = 1;

  std::string ToString() const;
  static absl::StatusOr<GatherCase> Parse(std::string_view line);
};

absl::Status CheckGather(Backend& backend, const GatherCase& c);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_GATHER_CHECKS_H_
