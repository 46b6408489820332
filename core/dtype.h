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

// f32, f16 and bf16 are what attention computes on; the two fp8 types (OCP: e4m3 without
// infinities, e5m2 with them) are what caches, queries and outputs may be stored in; i32 and i64
// are the index arrays beside them; u8 is only ever moved.
enum class DType : uint8_t { kF32, kF16, kBF16, kI32, kI64, kF8E4M3, kF8E5M2, kU8 };

// Bytes of one element.
int64_t SizeOf(DType dtype);

// "f32", "f16", "bf16", "i32", "i64", "f8e4m3", "f8e5m2", "u8".
std::string_view Name(DType dtype);

// Accepts the names above, and "float32", "fp32", "float16", "fp16", "half", "bfloat16", "fp8" and
// "fp8_e4m3" (the seeds' names of one type), "fp8_e5m2", "uint8".
// INVALID_ARGUMENT names the value otherwise.
absl::StatusOr<DType> ParseDType(std::string_view name);

// The types that attention computes on; not the fp8 ones.
constexpr bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

constexpr bool IsFp8(DType dtype) { return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2; }

// The largest finite value: 448 and 57344.
inline constexpr float kMaxF8E4M3 = 448.0f;
inline constexpr float kMaxF8E5M2 = 57344.0f;

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

// To fp8: round to nearest, ties to even; whatever lies beyond the largest finite value, infinities
// too, becomes that value with its sign; a NaN becomes 0x7f or 0xff. So every backend stores, and
// so do the seeds' kernels.
uint8_t F32ToF8E4M3(float value);
uint8_t F32ToF8E5M2(float value);
// Exact. e4m3: 0x7f and 0xff are NaN; e5m2: infinities and NaN as in IEEE 754.
float F8E4M3ToF32(uint8_t bits);
float F8E5M2ToF32(uint8_t bits);

// Reads or writes element `index` of an array of a float or fp8 type in host memory. The array may
// be unaligned.
float LoadFloat(DType dtype, const void* data, int64_t index);
void StoreFloat(DType dtype, void* data, int64_t index, float value);

}  // namespace weft

#endif  // WEFT_CORE_DTYPE_H_
