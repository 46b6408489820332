// SPDX-License-Identifier: Apache-2.0
#include "core/head_values.h"

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft {
namespace {

absl::Status CheckOne(std::string_view name, const TensorView& view, int64_t wanted) {
  const bool fits = wanted == 0 ? !view.given()
                                : view.given() && view.rank() == 1 && view.dtype() == DType::kF32 &&
                                      view.extent(0) == wanted && view.contiguous();
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, view.given() ? absl::StrCat(" is ", view.ToString()) : " is not given",
                   wanted == 0 ? ", the layer's spec has none"
                               : absl::StrCat(", must be contiguous f32[", wanted, "]")));
}

}  // namespace

std::vector<float> ScalesPerHead(const std::vector<float>& scales, const AttentionSpec& spec) {
  if (!IsFp8(spec.kv_dtype) || scales.empty()) return {};
  if (scales.size() > 1) return scales;
  return std::vector<float>(spec.num_kv_heads, scales[0]);
}

absl::Status CheckHeadValues(const AttentionSpec& spec, const HeadValues& values) {
  const auto count = [](const std::vector<float>& array) {
    return static_cast<int64_t>(array.size());
  };
  RETURN_IF_ERROR(CheckOne("ALiBi slopes", values.alibi_slopes, count(spec.alibi_slopes)));
  RETURN_IF_ERROR(CheckOne("sinks", values.sinks, count(spec.sinks)));
  RETURN_IF_ERROR(CheckOne("k_scales", values.k_scales, count(ScalesPerHead(spec.k_scales, spec))));
  return CheckOne("v_scales", values.v_scales, count(ScalesPerHead(spec.v_scales, spec)));
}

}  // namespace weft
