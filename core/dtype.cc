// SPDX-License-Identifier: Apache-2.0
#include "core/dtype.h"

#include <algorithm>
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
    case DType::kF8E4M3:
    case DType::kF8E5M2:
    case DType::kU8:
      return 1;
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
    case DType::kF8E4M3:
      return "f8e4m3";
    case DType::kF8E5M2:
      return "f8e5m2";
    case DType::kU8:
      return "u8";
  }
  return "?";
}

absl::StatusOr<DType> ParseDType(std::string_view name) {
  if (name == "f32" || name == "float32" || name == "fp32") return DType::kF32;
  if (name == "f16" || name == "float16" || name == "fp16" || name == "half") return DType::kF16;
  if (name == "bf16" || name == "bfloat16") return DType::kBF16;
  if (name == "i32" || name == "int32") return DType::kI32;
  if (name == "i64" || name == "int64") return DType::kI64;
  if (name == "f8e4m3" || name == "fp8" || name == "fp8_e4m3" || name == "float8_e4m3fn") {
    return DType::kF8E4M3;
  }
  if (name == "f8e5m2" || name == "fp8_e5m2" || name == "float8_e5m2") return DType::kF8E5M2;
  if (name == "u8" || name == "uint8") return DType::kU8;
  return absl::InvalidArgumentError(
      absl::StrCat("no such dtype: '", absl::CHexEscape(name),
                   "' (f32, f16, bf16, i32, i64, f8e4m3, f8e5m2, u8)"));
}

DlpackType ToDlpack(DType dtype) {
  constexpr uint8_t kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4, kF8E4M3Fn = 10, kF8E5M2 = 12;
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
    case DType::kF8E4M3:
      return {kF8E4M3Fn, 8};
    case DType::kF8E5M2:
      return {kF8E5M2, 8};
    case DType::kU8:
      return {kUint, 8};
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

namespace {

// An fp8 type of `mantissa` bits and exponent bias `bias`, whose largest finite code is `largest`.
uint8_t ToFp8(float value, int mantissa, int bias, uint32_t largest, float max) {
  const uint32_t bits = BitsOf(value);
  const auto sign = static_cast<uint8_t>((bits >> 24) & 0x80u);
  const float magnitude = FloatOf(bits & 0x7fffffffu);
  if (std::isnan(value)) return sign | 0x7fu;
  if (magnitude >= max) return static_cast<uint8_t>(sign | largest);
  const float smallest_normal = std::ldexp(1.0f, 1 - bias);
  if (magnitude < smallest_normal) {
    // Denormals count in steps of one unit; a carry out of them is the smallest normal's code.
    const float unit = std::ldexp(1.0f, 1 - bias - mantissa);
    return static_cast<uint8_t>(sign | static_cast<uint32_t>(std::nearbyint(magnitude / unit)));
  }
  const int drop = 23 - mantissa;
  const uint32_t odd = (bits >> drop) & 1u;
  const uint32_t rounded = ((bits & 0x7fffffffu) + (1u << (drop - 1)) - 1u + odd) >> drop;
  const uint32_t code = rounded - (static_cast<uint32_t>(127 - bias) << mantissa);
  return static_cast<uint8_t>(sign | std::min(code, largest));
}

float FromFp8(uint8_t bits, int mantissa, int bias) {
  const int exponent = (bits & 0x7f) >> mantissa;
  const int fraction = bits & ((1 << mantissa) - 1);
  const float magnitude =
      exponent == 0
          ? std::ldexp(static_cast<float>(fraction), 1 - bias - mantissa)
          : std::ldexp(static_cast<float>((1 << mantissa) + fraction), exponent - bias - mantissa);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

}  // namespace

uint8_t F32ToF8E4M3(float value) { return ToFp8(value, 3, 7, 0x7e, kMaxF8E4M3); }
uint8_t F32ToF8E5M2(float value) { return ToFp8(value, 2, 15, 0x7b, kMaxF8E5M2); }

float F8E4M3ToF32(uint8_t bits) {
  if ((bits & 0x7f) == 0x7f) return std::copysign(NAN, (bits & 0x80) != 0 ? -1.0f : 1.0f);
  return FromFp8(bits, 3, 7);
}

float F8E5M2ToF32(uint8_t bits) {
  const float sign = (bits & 0x80) != 0 ? -1.0f : 1.0f;
  if ((bits & 0x7f) > 0x7c) return std::copysign(NAN, sign);
  if ((bits & 0x7f) == 0x7c) return std::copysign(INFINITY, sign);
  return FromFp8(bits, 2, 15);
}

float LoadFloat(DType dtype, const void* data, int64_t index) {
  const char* at = static_cast<const char*>(data) + index * SizeOf(dtype);
  if (dtype == DType::kF32) {
    float value = 0.0f;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  if (dtype == DType::kF8E4M3) return F8E4M3ToF32(static_cast<uint8_t>(*at));
  if (dtype == DType::kF8E5M2) return F8E5M2ToF32(static_cast<uint8_t>(*at));
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
  if (IsFp8(dtype)) {
    *at = static_cast<char>(dtype == DType::kF8E4M3 ? F32ToF8E4M3(value) : F32ToF8E5M2(value));
    return;
  }
  const uint16_t bits = dtype == DType::kF16 ? F32ToF16(value) : F32ToBF16(value);
  std::memcpy(at, &bits, sizeof(bits));
}

}  // namespace weft
