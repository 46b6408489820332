// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/preset.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::replay {
namespace {

constexpr Preset kPresets[] = {
    {"llama-8b", "Llama 3 8B: 32 heads, 8 of keys, of 128, bf16", 32, 8, 128, 32, DType::kBF16},
    {"llama-70b-tp8", "Llama 3 70B on one of 8 GPUs: 8 heads, 1 of keys, of 128, bf16", 8, 1, 128,
     80, DType::kBF16},
    {"qwen3-like", "Qwen3 235B: 64 heads, 4 of keys, of 128, bf16", 64, 4, 128, 94, DType::kBF16},
    {"small", "made up, for tests: 4 heads, 2 of keys, of 64, f16", 4, 2, 64, 4, DType::kF16},
};

}  // namespace

AttentionSpec Preset::Spec() const {
  AttentionSpec spec;
  spec.num_heads = num_heads;
  spec.num_kv_heads = num_kv_heads;
  spec.head_size = head_size;
  spec.dtype = dtype;
  spec.kv_dtype = dtype;
  return spec;
}

absl::Span<const Preset> Presets() { return kPresets; }

absl::StatusOr<Preset> FindPreset(std::string_view name) {
  std::string known;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
    absl::StrAppend(&known, known.empty() ? "" : ", ", preset.name);
  }
  return absl::InvalidArgumentError(absl::StrCat("no such preset; there are ", known));
}

}  // namespace weft::replay
