// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/preset.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::replay {
namespace {

constexpr Preset kPresets[] = {
    {"llama-8b", "Llama 3 8B: 32 heads, 8 of keys, of 128, bf16", 32, 8, 128, 32, DType::kBF16},
    {"llama-70b-tp8", "Llama 3 70B on one of 8 GPUs: 8 heads, 1 of keys, of 128, bf16", 8, 1, 128,
     80, DType::kBF16},
    {"qwen3-like", "Qwen3 235B: 64 heads, 4 of keys, of 128, bf16", 64, 4, 128, 94, DType::kBF16},
    {"gpt-oss-like",
     "gpt-oss 20B: 64 heads, 8 of keys, of 64, bf16, sinks, a window of 128 in every other layer",
     64, 8, 64, 24, DType::kBF16, /*window=*/128, /*scale=*/0.0f, /*softcap=*/0.0f,
     /*sinks=*/true},
    {"gemma-like",
     "Gemma 2 27B: 32 heads, 16 of keys, of 128, bf16, logits capped at 50, a window of 4096 in "
     "every other layer",
     32, 16, 128, 46, DType::kBF16, /*window=*/4096, /*scale=*/1.0f / 12, /*softcap=*/50.0f},
    {"small", "made up, for tests: 4 heads, 2 of keys, of 64, f16", 4, 2, 64, 4, DType::kF16},
    {"small-window",
     "made up, for tests: small with a window of 24 in every other layer, sinks, and logits capped "
     "at 20",
     4, 2, 64, 4, DType::kF16, /*window=*/24, /*scale=*/0.0f, /*softcap=*/20.0f, /*sinks=*/true},
};

// Near the logits that content has (planted ones around 10, others around 0, of which a long row
// has many): a sink that is left out, or counted twice, is seen.
float Sink(int64_t head) { return 5.0f + static_cast<float>(head * 5 % 8) * 0.75f; }

// Those that spread a head's keys (or values) over all of e4m3: the largest element of content,
// 15/8, becomes 448 in the first head and less in others.
std::vector<float> Fp8Scales(int64_t num_kv_heads, float step) {
  std::vector<float> scales;
  for (int64_t head = 0; head < num_kv_heads; ++head) {
    scales.push_back(1.875f / 448.0f * (1.0f + step * static_cast<float>(head % 4)));
  }
  return scales;
}

}  // namespace

std::vector<AttentionSpec> Preset::Kinds() const {
  AttentionSpec spec;
  spec.num_heads = num_heads;
  spec.num_kv_heads = num_kv_heads;
  spec.head_size = head_size;
  spec.dtype = dtype;
  spec.kv_dtype = kv_dtype.value_or(dtype);
  if (IsFp8(spec.kv_dtype)) {
    spec.k_scales = Fp8Scales(num_kv_heads, 0.3f);
    spec.v_scales = Fp8Scales(num_kv_heads, 0.7f);
  }
  spec.scale = scale;
  spec.softcap = softcap;
  for (int64_t head = 0; sinks && head < num_heads; ++head) spec.sinks.push_back(Sink(head));
  if (window == 0) return {spec};
  AttentionSpec windowed = spec;
  windowed.window = window;
  return {windowed, spec};
}

absl::Span<const Preset> Presets() { return kPresets; }

absl::Status SetKvDType(std::string_view name, Preset& preset) {
  for (const auto& [known, dtype] :
       {std::pair("f16", DType::kF16), std::pair("bf16", DType::kBF16),
        std::pair("fp8_e4m3", DType::kF8E4M3), std::pair("fp8_e5m2", DType::kF8E5M2)}) {
    if (name != known) continue;
    preset.kv_dtype = dtype;
    if (!IsFp8(dtype)) preset.dtype = dtype;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("no such type; there are f16, bf16, fp8_e4m3 and fp8_e5m2");
}

absl::StatusOr<Preset> FindPreset(std::string_view name) {
  std::string known;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
    absl::StrAppend(&known, known.empty() ? "" : ", ", preset.name);
  }
  return absl::InvalidArgumentError(absl::StrCat("no such preset; there are ", known));
}

}  // namespace weft::replay
