// SPDX-License-Identifier: Apache-2.0
//
// Typed access to the scalar arguments of a golden case.
#ifndef WEFT_TESTING_GOLDEN_GOLDEN_ARGS_H_
#define WEFT_TESTING_GOLDEN_GOLDEN_ARGS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/dtype.h"
#include "testing/golden/golden_case.h"

namespace weft::testing {

// Every getter answers DATA_LOSS, naming the case and the field, if the field is missing or of
// another type. The case must outlive this.
class GoldenArgs {
 public:
  explicit GoldenArgs(const GoldenCase& golden) : golden_(golden) {}

  absl::StatusOr<int64_t> Integer(const char* field) const;  // fits int32
  absl::StatusOr<double> Number(const char* field) const;
  absl::StatusOr<bool> Flag(const char* field) const;
  absl::StatusOr<std::string> String(const char* field) const;
  absl::StatusOr<DType> Dtype(const char* field) const;
  // Of a cache: null says `otherwise`, a name an fp8 type.
  absl::StatusOr<DType> CacheDtype(const char* field, DType otherwise) const;
  // Missing counts as null.
  bool IsNull(const char* field) const;

 private:
  const nlohmann::json* Find(const char* field) const;
  absl::Status Wrong(const char* field, const char* expected) const;

  const GoldenCase& golden_;
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_GOLDEN_GOLDEN_ARGS_H_
