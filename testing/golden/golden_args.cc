// SPDX-License-Identifier: Apache-2.0
#include "testing/golden/golden_args.h"

#include <limits>

#include "absl/strings/str_cat.h"

namespace weft::testing {

const nlohmann::json* GoldenArgs::Find(const char* field) const {
  const auto found = golden_.args.find(field);
  return found == golden_.args.end() ? nullptr : &*found;
}

absl::Status GoldenArgs::Wrong(const char* field, const char* expected) const {
  const nlohmann::json* value = Find(field);
  return absl::DataLossError(absl::StrCat(
      "case ", golden_.name, ": args.", field, " is ",
      value == nullptr ? "missing" : value->dump().substr(0, 80), ", must be ", expected));
}

absl::StatusOr<int64_t> GoldenArgs::Integer(const char* field) const {
  const nlohmann::json* value = Find(field);
  const char* const expected = "an integer that fits 32 bits";
  if (value == nullptr || !value->is_number_integer()) return Wrong(field, expected);
  // As a double first: a huge unsigned number would turn negative.
  const double number = value->get<double>();
  if (number < std::numeric_limits<int32_t>::min() ||
      number > std::numeric_limits<int32_t>::max()) {
    return Wrong(field, expected);
  }
  return value->get<int64_t>();
}

absl::StatusOr<double> GoldenArgs::Number(const char* field) const {
  const nlohmann::json* value = Find(field);
  if (value == nullptr || !value->is_number()) return Wrong(field, "a number");
  return value->get<double>();
}

absl::StatusOr<bool> GoldenArgs::Flag(const char* field) const {
  const nlohmann::json* value = Find(field);
  if (value == nullptr || !value->is_boolean()) return Wrong(field, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> GoldenArgs::String(const char* field) const {
  const nlohmann::json* value = Find(field);
  if (value == nullptr || !value->is_string()) return Wrong(field, "a string");
  return value->get<std::string>();
}

absl::StatusOr<DType> GoldenArgs::Dtype(const char* field) const {
  const nlohmann::json* value = Find(field);
  if (value != nullptr && value->is_string()) {
    absl::StatusOr<DType> dtype = ParseDType(value->get<std::string>());
    if (dtype.ok() && IsFloat(*dtype)) return dtype;
  }
  return Wrong(field, "bf16, fp16 or fp32");
}

absl::StatusOr<DType> GoldenArgs::CacheDtype(const char* field, DType otherwise) const {
  if (IsNull(field)) return otherwise;
  const nlohmann::json* value = Find(field);
  if (value->is_string()) {
    absl::StatusOr<DType> dtype = ParseDType(value->get<std::string>());
    if (dtype.ok() && IsFp8(*dtype)) return dtype;
  }
  return Wrong(field, "null, fp8 or fp8_e5m2");
}

bool GoldenArgs::IsNull(const char* field) const {
  const nlohmann::json* value = Find(field);
  return value == nullptr || value->is_null();
}

}  // namespace weft::testing
