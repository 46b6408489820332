// SPDX-License-Identifier: Apache-2.0
//
// HeadValues: the per-head numbers of a layer in device memory. Kernels read them; AttentionLayer
// makes them once, from its spec.
#ifndef WEFT_CORE_HEAD_VALUES_H_
#define WEFT_CORE_HEAD_VALUES_H_

#include <vector>

#include "absl/status/status.h"
#include "core/attention_spec.h"
#include "core/tensor_view.h"

namespace weft {

// Contiguous f32 arrays. Not given: no slopes, no sinks, scales of 1.
struct HeadValues {
  TensorView alibi_slopes;  // [num_heads]
  TensorView sinks;         // [num_heads]
  TensorView k_scales;      // [num_kv_heads]; a scale for the whole tensor is repeated
  TensorView v_scales;      // [num_kv_heads]
};

// INVALID_ARGUMENT: an array that the spec has and `values` has not, or the reverse; a wrong dtype
// or extent. Memory is not looked at.
absl::Status CheckHeadValues(const AttentionSpec& spec, const HeadValues& values);

// Scales as kernels read them: one for each KV head, or none where all are 1.
std::vector<float> ScalesPerHead(const std::vector<float>& scales, const AttentionSpec& spec);

}  // namespace weft

#endif  // WEFT_CORE_HEAD_VALUES_H_
