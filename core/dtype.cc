// SPDX-License-Identifier: Apache-2.0
#include "core/dtype.h"

#include <cmath>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace weft {
namespace {

uint32_t BitsOf(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float FloatOf(uint32_t bits) {
  float value = 0.0f;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace

int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kI64:
      return 8;
  }
  return 0;
}

std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
  }
  return "?";
}

absl::StatusOr<DType> ParseDType(std::string_view name) {
  if (name == "f32" || name == "float32" || name == "fp32") return DType::kF32;
  if (name == "f16" || name == "float16" || name == "fp16" || name == "half") return DType::kF16;
  if (name == "bf16" || name == "bfloat16") return DType::kBF16;
  if (name == "i32" || name == "int32") return DType::kI32;
  if (name == "i64" || name == "int64") return DType::kI64;
  return absl::InvalidArgumentError(
      absl::StrCat("no such dtype: '", absl::CHexEscape(name), "' (f32, f16, bf16, i32, i64)"));
}

DlpackType ToDlpack(DType dtype) {
  constexpr uint8_t kInt = 0, kFloat = 2, kBfloat = 4;
  switch (dtype) {
    case DType::kF32:
      return {kFloat, 32};
    case DType::kF16:
      return {kFloat, 16};
    case DType::kBF16:
      return {kBfloat, 16};
    case DType::kI32:
      return {kInt, 32};
    case DType::kI64:
      return {kInt, 64};
  }
  return {0, 0};
}

uint16_t F32ToF16(float value) {
  const uint32_t bits = BitsOf(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {  // NaN: quiet, upper payload kept
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
  }
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // >= 65520
  if (magnitude < 0x38800000u) {  // below 2^-14: a denormal half counts in steps of 2^-24
    // Adding 0.5 aligns those steps with the last bit of the sum, so the hardware rounds to nearest
    // even.
    const uint32_t rounded = BitsOf(FloatOf(magnitude) + 0.5f) - 0x3f000000u;
    return static_cast<uint16_t>(sign | rounded);
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

float F16ToF32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1fu) {
    const uint32_t quiet = mantissa != 0 ? 0x400000u : 0u;
    return FloatOf(sign | 0x7f800000u | quiet | mantissa << 13);
  }
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return FloatOf(sign | BitsOf(value));
  }
  return FloatOf(sign | (exponent + 112u) << 23 | mantissa << 13);
}

uint16_t F32ToBF16(float value) {
  const uint32_t bits = BitsOf(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return static_cast<uint16_t>((bits >> 16) | 0x40u);
  }
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float BF16ToF32(uint16_t bits) { return FloatOf(static_cast<uint32_t>(bits) << 16); }

float LoadFloat(DType dtype, const void* data, int64_t index) {
  const char* at = static_cast<const char*>(data) + index * SizeOf(dtype);
  if (dtype == DType::kF32) {
    float value = 0.0f;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return dtype == DType::kF16 ? F16ToF32(bits) : BF16ToF32(bits);
}

void StoreFloat(DType dtype, void* data, int64_t index, float value) {
  char* at = static_cast<char*>(data) + index * SizeOf(dtype);
  if (dtype == DType::kF32) {
    std::memcpy(at, &value, sizeof(value));
    return;
  }
  const uint16_t bits = dtype == DType::kF16 ? F32ToF16(value) : F32ToBF16(value);
  std::memcpy(at, &bits, sizeof(bits));
}

}  // namespace weft
