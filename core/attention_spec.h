// SPDX-License-Identifier: Apache-2.0
//
// AttentionSpec: what is constant for a layer. Validate() holds the rules that are true on every
// device; whether a device can do it is Backend::Supports.
#ifndef WEFT_CORE_ATTENTION_SPEC_H_
#define WEFT_CORE_ATTENTION_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/dtype.h"
#include "core/kv_cache.h"

namespace weft {

// Which tokens attend to which. Only decoders are built; the others are refused by name.
enum class AttentionType : uint8_t { kDecoder, kEncoder, kEncoderOnly, kEncoderDecoder };
std::string_view Name(AttentionType type);

struct AttentionSpec {
  AttentionType type = AttentionType::kDecoder;
  int64_t num_heads = 0;     // query heads
  int64_t num_kv_heads = 0;  // divides num_heads; each serves num_heads / num_kv_heads query heads
  int64_t head_size = 0;
  DType dtype = DType::kF16;     // of query, key, value and, unless said otherwise, output
  DType kv_dtype = DType::kF16;  // of the cache: dtype, or an fp8 type
  // The query is e4m3 (QuantizeFp8 makes it so), read back times q_scale.
  bool fp8_query = false;
  // The output: f32 for a state to be merged, f8e4m3 for fused quantisation (stored = output /
  // out_scale, saturated to +-448).
  std::optional<DType> out_dtype;

  float scale = 0.0f;               // of the logits; 0 stands for 1 / sqrt(head_size)
  float softcap = 0.0f;             // logits become softcap * tanh(logit / softcap); 0 = none
  int64_t window = 0;               // a row at position p sees keys p - window + 1 .. p; <= 0 = all
  std::vector<float> alibi_slopes;  // [num_heads] or empty; adds slope * (k_pos - q_pos)
  std::vector<float> sinks;  // [num_heads] or empty; an extra logit that joins the denominator once
  // Of an fp8 cache: stored key = key / k_scale. Empty (1), one for all heads, or [num_kv_heads].
  std::vector<float> k_scales;
  std::vector<float> v_scales;
  float q_scale = 1.0f;    // 1 unless fp8_query; the seeds refuse others, and so does weft
  float out_scale = 1.0f;  // 1 unless out_dtype is f8e4m3

  // The layer reads a cache that another layer writes: Forward does not look at key and value.
  bool shares_kv_cache = false;

  DType query_dtype() const { return fp8_query ? DType::kF8E4M3 : dtype; }
  DType output_dtype() const { return out_dtype.value_or(dtype); }
  int64_t group_size() const { return num_heads / num_kv_heads; }
  float effective_scale() const;

  // INVALID_ARGUMENT names the field and its value; UNIMPLEMENTED: an attention type or a q_scale
  // that the seeds refuse too.
  absl::Status Validate() const;

  uint64_t fingerprint() const;
  std::string ToString() const;
};

// Validate(), and that the cache's heads, head size and dtype are those of the layer.
absl::Status ValidateForLayout(const AttentionSpec& spec, const KvCacheLayout& layout);

}  // namespace weft

#endif  // WEFT_CORE_ATTENTION_SPEC_H_
