// SPDX-License-Identifier: Apache-2.0
//
// DType: the element types that weft knows, and exact software conversions between them.
//
// A DType is never a string past the command line: ParseDType is for flags and files only.
#ifndef WEFT_CORE_DTYPE_H_
#define WEFT_CORE_DTYPE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace weft {

// f32, f16 and bf16 are what attention computes on; i32 and i64 are the index arrays beside it.
enum class DType : uint8_t { kF32, kF16, kBF16, kI32, kI64 };

// Bytes of one element.
int64_t SizeOf(DType dtype);

// "f32", "f16", "bf16", "i32", "i64".
std::string_view Name(DType dtype);

// Accepts the names above, and "float32", "fp32", "float16", "fp16", "half", "bfloat16".
// INVALID_ARGUMENT names the value otherwise.
absl::StatusOr<DType> ParseDType(std::string_view name);

constexpr bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// The type codes of DLPack 1.1 (DLDataTypeCode), for exchange with other libraries.
struct DlpackType {
  uint8_t code;
  uint8_t bits;
};
DlpackType ToDlpack(DType dtype);

// Conversions of single values, by bits: round to nearest, ties to even; overflow goes to infinity;
// denormals are kept; a NaN stays a quiet NaN with its sign and the payload bits that fit.
uint16_t F32ToF16(float value);
float F16ToF32(uint16_t bits);
uint16_t F32ToBF16(float value);
float BF16ToF32(uint16_t bits);

// Reads or writes element `index` of an array of float type `dtype` in host memory. The array may
// be unaligned.
float LoadFloat(DType dtype, const void* data, int64_t index);
void StoreFloat(DType dtype, void* data, int64_t index, float value);

}  // namespace weft

#endif  // WEFT_CORE_DTYPE_H_
