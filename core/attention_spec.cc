// SPDX-License-Identifier: Apache-2.0
#include "core/attention_spec.h"

#include <algorithm>
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

// Scales of an fp8 cache: none, one, or one for each KV head.
absl::Status CheckScales(std::string_view name, const std::vector<float>& scales,
                         const AttentionSpec& spec) {
  const auto count = static_cast<int64_t>(scales.size());
  if (count > 1 && count != spec.num_kv_heads) {
    return Invalid(name, " has ", count, " entries, must have none, 1 or ", spec.num_kv_heads,
                   ", the number of KV heads");
  }
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i]) || scales[i] <= 0.0f)
      return Invalid(name, "[", i, "] is ", scales[i], ", must be positive");
    if (scales[i] != 1.0f && !IsFp8(spec.kv_dtype))
      return Invalid(name, "[", i, "] is ", scales[i], " for an unquantised ", Name(spec.kv_dtype),
                     " cache, must be 1");
  }
  return absl::OkStatus();
}

absl::Status CheckScale(std::string_view name, float scale, bool allowed,
                        std::string_view condition) {
  if (!std::isfinite(scale) || scale <= 0.0f)
    return Invalid(name, " is ", scale, ", must be positive");
  if (scale != 1.0f && !allowed) return Invalid(name, " is ", scale, " without ", condition);
  return absl::OkStatus();
}

}  // namespace

std::string_view Name(AttentionType type) {
  switch (type) {
    case AttentionType::kDecoder:
      return "decoder";
    case AttentionType::kEncoder:
      return "encoder";
    case AttentionType::kEncoderOnly:
      return "encoder-only";
    case AttentionType::kEncoderDecoder:
      return "encoder-decoder";
  }
  return "?";
}

float AttentionSpec::effective_scale() const {
  return scale != 0.0f ? scale
                       : static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_size)));
}

absl::Status AttentionSpec::Validate() const {
  if (type != AttentionType::kDecoder) {
    return absl::UnimplementedError(
        absl::StrCat("attention spec: ", Name(type), " attention is not supported, only decoder"));
  }
  if (num_heads < 1) return Invalid("num_heads is ", num_heads, ", must be >= 1");
  if (num_kv_heads < 1) return Invalid("num_kv_heads is ", num_kv_heads, ", must be >= 1");
  if (num_heads % num_kv_heads != 0) {
    return Invalid("num_heads ", num_heads, " is no multiple of num_kv_heads ", num_kv_heads);
  }
  if (head_size < 1) return Invalid("head_size is ", head_size, ", must be >= 1");
  if (!IsFloat(dtype)) return Invalid("dtype is ", Name(dtype), ", must be f32, f16 or bf16");
  if (!IsFloat(kv_dtype) && !IsFp8(kv_dtype))
    return Invalid("kv_dtype is ", Name(kv_dtype), ", must be f32, f16, bf16, f8e4m3 or f8e5m2");
  if (!IsFloat(output_dtype()) && output_dtype() != DType::kF8E4M3)
    return Invalid("out_dtype is ", Name(output_dtype()), ", must be f32, f16, bf16 or f8e4m3");
  if (fp8_query && !IsFp8(kv_dtype))
    return Invalid("fp8_query with a ", Name(kv_dtype), " cache, needs an fp8 one");
  if (!std::isfinite(scale) || scale < 0.0f)
    return Invalid("scale is ", scale, ", must be positive (0: 1/sqrt(head_size))");
  if (!std::isfinite(softcap) || softcap < 0.0f)
    return Invalid("softcap is ", softcap, ", must be >= 0 (0: none)");
  RETURN_IF_ERROR(
      CheckPerHead("alibi_slopes", alibi_slopes, num_heads, /*allow_minus_infinity=*/false));
  RETURN_IF_ERROR(CheckPerHead("sinks", sinks, num_heads, /*allow_minus_infinity=*/true));
  RETURN_IF_ERROR(CheckScales("k_scales", k_scales, *this));
  RETURN_IF_ERROR(CheckScales("v_scales", v_scales, *this));
  RETURN_IF_ERROR(CheckScale("q_scale", q_scale, fp8_query, "fp8_query"));
  if (q_scale != 1.0f) {
    return absl::UnimplementedError(
        absl::StrCat("attention spec: q_scale is ", q_scale, ", only 1 is supported"));
  }
  RETURN_IF_ERROR(
      CheckScale("out_scale", out_scale, output_dtype() == DType::kF8E4M3, "an f8e4m3 output"));
  return absl::OkStatus();
}

uint64_t AttentionSpec::fingerprint() const {
  Fingerprint print;
  print.Add(num_heads).Add(num_kv_heads).Add(head_size).Add(dtype).Add(kv_dtype);
  print.Add(fp8_query).Add(output_dtype()).Add(shares_kv_cache);
  print.Add(effective_scale()).Add(softcap).Add(std::max<int64_t>(window, 0));
  print.AddAll<float>(alibi_slopes).AddAll<float>(sinks);
  print.AddAll<float>(k_scales).AddAll<float>(v_scales).Add(q_scale).Add(out_scale);
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
  if (fp8_query) absl::StrAppend(&text, ", fp8 query");
  if (output_dtype() != dtype) absl::StrAppend(&text, ", output ", Name(output_dtype()));
  if (shares_kv_cache) absl::StrAppend(&text, ", shares the KV cache");
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
