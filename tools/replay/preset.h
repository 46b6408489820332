// SPDX-License-Identifier: Apache-2.0
//
// Preset: the attention of a known model, as one GPU of its usual deployment sees it.
#ifndef WEFT_TOOLS_REPLAY_PRESET_H_
#define WEFT_TOOLS_REPLAY_PRESET_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/attention_spec.h"
#include "core/dtype.h"

namespace weft::replay {

struct Preset {
  std::string_view name;
  std::string_view description;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_size = 0;
  int64_t model_layers = 0;  // of the model; --layers says how many are replayed
  DType dtype = DType::kF16;
  int64_t window = 0;    // of layers 0, 2, 4, ...; the others see all keys. 0: of none
  float scale = 0.0f;    // as in AttentionSpec
  float softcap = 0.0f;  // likewise
  bool sinks = false;    // the model has some; their values are made up, as all content is

  // --kv-dtype; none: that of the model. An fp8 cache has a scale for each KV head.
  std::optional<DType> kv_dtype = std::nullopt;

  // The kinds of its layers: layer i is of kind i modulo their number.
  std::vector<AttentionSpec> Kinds() const;
};

absl::Span<const Preset> Presets();

// `name` as --kv-dtype has it. f16 and bf16 are the whole model's dtype then: attention reads an
// unquantised cache in the type of its query. INVALID_ARGUMENT lists the names.
absl::Status SetKvDType(std::string_view name, Preset& preset);

// INVALID_ARGUMENT lists the names.
absl::StatusOr<Preset> FindPreset(std::string_view name);

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_PRESET_H_
