// SPDX-License-Identifier: Apache-2.0
#include "core/attention_spec.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/fingerprint.h"
#include "core/status_macros.h"

namespace weft {
namespace {

template <typename... T>
absl::Status Invalid(const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat("attention spec: ", text...));
}

absl::Status CheckPerHead(std::string_view name, const std::vector<float>& values,
                          int64_t num_heads, bool allow_minus_infinity) {
  if (values.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(values.size()) != num_heads) {
    return Invalid(name, " has ", values.size(), " entries for ", num_heads, " heads");
  }
  for (size_t head = 0; head < values.size(); ++head) {
    const float value = values[head];
    const bool fine = std::isfinite(value) || (allow_minus_infinity && value == -INFINITY);
    if (!fine) return Invalid(name, "[", head, "] is ", value);
  }
  return absl::OkStatus();
}

}  // namespace

float AttentionSpec::effective_scale() const {
  return scale != 0.0f ? scale
                       : static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_size)));
}

absl::Status AttentionSpec::Validate() const {
  if (num_heads < 1) return Invalid("num_heads is ", num_heads, ", must be >= 1");
  if (num_kv_heads < 1) return Invalid("num_kv_heads is ", num_kv_heads, ", must be >= 1");
  if (num_heads % num_kv_heads != 0) {
    return Invalid("num_heads ", num_heads, " is no multiple of num_kv_heads ", num_kv_heads);
  }
  if (head_size < 1) return Invalid("head_size is ", head_size, ", must be >= 1");
  if (!IsFloat(dtype)) return Invalid("dtype is ", Name(dtype), ", must be f32, f16 or bf16");
  if (!IsFloat(kv_dtype))
    return Invalid("kv_dtype is ", Name(kv_dtype), ", must be f32, f16 or bf16");
  if (!std::isfinite(scale) || scale < 0.0f)
    return Invalid("scale is ", scale, ", must be positive (0: 1/sqrt(head_size))");
  if (!std::isfinite(softcap) || softcap < 0.0f)
    return Invalid("softcap is ", softcap, ", must be >= 0 (0: none)");
  RETURN_IF_ERROR(
      CheckPerHead("alibi_slopes", alibi_slopes, num_heads, /*allow_minus_infinity=*/false));
  RETURN_IF_ERROR(CheckPerHead("sinks", sinks, num_heads, /*allow_minus_infinity=*/true));
  for (const auto& [name, value] : {std::pair("k_scale", k_scale), std::pair("v_scale", v_scale)}) {
    if (!std::isfinite(value) || value <= 0.0f)
      return Invalid(name, " is ", value, ", must be positive");
    if (value != 1.0f)
      return Invalid(name, " is ", value, " for an unquantised ", Name(kv_dtype),
                     " cache, must be 1");
  }
  return absl::OkStatus();
}

uint64_t AttentionSpec::fingerprint() const {
  Fingerprint print;
  print.Add(num_heads).Add(num_kv_heads).Add(head_size).Add(dtype).Add(kv_dtype);
  print.Add(effective_scale()).Add(softcap).Add(window).Add(k_scale).Add(v_scale);
  print.AddAll<float>(alibi_slopes).AddAll<float>(sinks);
  return print.value();
}

std::string AttentionSpec::ToString() const {
  std::string text = absl::StrCat(Name(dtype), ", ", num_heads, "/", num_kv_heads, " heads of ",
                                  head_size, ", scale ", effective_scale());
  if (kv_dtype != dtype) absl::StrAppend(&text, ", KV ", Name(kv_dtype));
  if (softcap > 0.0f) absl::StrAppend(&text, ", softcap ", softcap);
  if (window > 0) absl::StrAppend(&text, ", window ", window);
  if (!alibi_slopes.empty()) absl::StrAppend(&text, ", ALiBi");
  if (!sinks.empty()) absl::StrAppend(&text, ", sinks");
  return text;
}

absl::Status ValidateForLayout(const AttentionSpec& spec, const KvCacheLayout& layout) {
  RETURN_IF_ERROR(spec.Validate());
  if (layout.num_kv_heads() != spec.num_kv_heads) {
    return Invalid("num_kv_heads ", spec.num_kv_heads, ", the cache has ", layout.num_kv_heads());
  }
  if (layout.head_size() != spec.head_size) {
    return Invalid("head_size ", spec.head_size, ", the cache has ", layout.head_size());
  }
  if (layout.dtype() != spec.kv_dtype) {
    return Invalid("kv_dtype ", Name(spec.kv_dtype), ", the cache has ", Name(layout.dtype()));
  }
  return absl::OkStatus();
}

}  // namespace weft
