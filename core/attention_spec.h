// SPDX-License-Identifier: Apache-2.0
//
// AttentionSpec: what is constant for a layer. Validate() holds the rules that are true on every
// device; whether a device can do it is Backend::Supports.
#ifndef WEFT_CORE_ATTENTION_SPEC_H_
#define WEFT_CORE_ATTENTION_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/dtype.h"
#include "core/kv_cache.h"

namespace weft {

struct AttentionSpec {
  int64_t num_heads = 0;     // query heads
  int64_t num_kv_heads = 0;  // divides num_heads; each serves num_heads / num_kv_heads query heads
  int64_t head_size = 0;
  DType dtype = DType::kF16;     // of query, key, value and output
  DType kv_dtype = DType::kF16;  // of the cache

  float scale = 0.0f;               // of the logits; 0 stands for 1 / sqrt(head_size)
  float softcap = 0.0f;             // logits become softcap * tanh(logit / softcap); 0 = none
  int64_t window = 0;               // a row at position p sees keys p - window + 1 .. p; <= 0 = all
  std::vector<float> alibi_slopes;  // [num_heads] or empty
  std::vector<float> sinks;  // [num_heads] or empty; an extra logit that joins the denominator once
  float k_scale = 1.0f;      // stored key = key / k_scale; 1 unless the cache is quantised
  float v_scale = 1.0f;

  int64_t group_size() const { return num_heads / num_kv_heads; }
  float effective_scale() const;

  // INVALID_ARGUMENT names the field and its value.
  absl::Status Validate() const;

  uint64_t fingerprint() const;
  std::string ToString() const;
};

// Validate(), and that the cache's heads, head size and dtype are those of the layer.
absl::Status ValidateForLayout(const AttentionSpec& spec, const KvCacheLayout& layout);

}  // namespace weft

#endif  // WEFT_CORE_ATTENTION_SPEC_H_
