// SPDX-License-Identifier: Apache-2.0
#include "vulkan/ops/modules.h"

#include "absl/types/span.h"
#include "vulkan/shaders/attention_decode.h"
#include "vulkan/shaders/attention_merge.h"
#include "vulkan/shaders/attention_prefill.h"
#include "vulkan/shaders/correct_attn_out.h"
#include "vulkan/shaders/gather_rows.h"
#include "vulkan/shaders/merge_states.h"
#include "vulkan/shaders/quantize_fp8.h"
#include "vulkan/shaders/quantize_to_cache.h"
#include "vulkan/shaders/reshape_and_cache.h"

namespace weft::vulkan {

const ShaderModule& AttentionPrefillModule() {
  static const ShaderModule module = {"attention_prefill",
                                      absl::MakeConstSpan(shaders::kAttentionPrefill)};
  return module;
}

const ShaderModule& AttentionDecodeModule() {
  static const ShaderModule module = {"attention_decode",
                                      absl::MakeConstSpan(shaders::kAttentionDecode)};
  return module;
}

const ShaderModule& AttentionMergeModule() {
  static const ShaderModule module = {"attention_merge",
                                      absl::MakeConstSpan(shaders::kAttentionMerge)};
  return module;
}

const ShaderModule& ReshapeAndCacheModule() {
  static const ShaderModule module = {"reshape_and_cache",
                                      absl::MakeConstSpan(shaders::kReshapeAndCache)};
  return module;
}

const ShaderModule& GatherRowsModule() {
  static const ShaderModule module = {"gather_rows", absl::MakeConstSpan(shaders::kGatherRows)};
  return module;
}

const ShaderModule& CorrectAttnOutModule() {
  static const ShaderModule module = {"correct_attn_out",
                                      absl::MakeConstSpan(shaders::kCorrectAttnOut)};
  return module;
}

const ShaderModule& MergeStatesModule() {
  static const ShaderModule module = {"merge_states", absl::MakeConstSpan(shaders::kMergeStates)};
  return module;
}

const ShaderModule& QuantizeFp8Module() {
  static const ShaderModule module = {"quantize_fp8", absl::MakeConstSpan(shaders::kQuantizeFp8)};
  return module;
}

const ShaderModule& QuantizeToCacheModule() {
  static const ShaderModule module = {"quantize_to_cache",
                                      absl::MakeConstSpan(shaders::kQuantizeToCache)};
  return module;
}

}  // namespace weft::vulkan
