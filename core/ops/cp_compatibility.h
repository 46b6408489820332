// SPDX-License-Identifier: Apache-2.0
//
// CheckAttentionCpCompatibility: whether the attention layers of a model can run under context
// parallelism as it is configured (seed 004, check_attention_cp_compatibility; docs/pcp_spec.md,
// 7).
#ifndef WEFT_CORE_OPS_CP_COMPATIBILITY_H_
#define WEFT_CORE_OPS_CP_COMPATIBILITY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace weft {

// The parallel part of a configuration, in the seeds' words.
struct CpConfig {
  int64_t tensor_parallel_size = 1;
  int64_t prefill_context_parallel_size = 1;
  int64_t decode_context_parallel_size = 1;
  int64_t cp_kv_cache_interleave_size = 1;
  // The name that seed 004 has for it, deprecated since; takes effect if > 1.
  int64_t dcp_kv_cache_interleave_size = 1;
  bool speculative = false;  // speculative_config is set
  int64_t block_size = 16;
  int64_t num_kv_heads = 1;  // of the whole model
  bool is_mla = false;       // one latent in place of KV heads, on every tensor-parallel rank
};

// What an implementation of attention says about itself.
struct AttentionImplTraits {
  std::string name;  // for messages: "TritonAttentionImpl"
  bool can_return_lse_for_decode = false;
  bool supports_pcp = false;
  bool supports_mtp_with_cp_non_trivial_interleave_size = false;
};

struct CpAttentionLayer {
  std::string name;                         // "model.layers.0.attn"
  std::optional<AttentionImplTraits> impl;  // none: the layer is skipped
};

// The interleave that holds: the deprecated one if it is > 1.
int64_t EffectiveInterleave(const CpConfig& config);

// The rules of the configuration alone, in this order; INVALID_ARGUMENT names the numbers.
//   sizes >= 1
//   pcp == 1: tp is a multiple of dcp; pcp > 1: dcp is 1, pcp or tp * pcp
//   attention with KV heads whose DCP group spans t > 1 tensor-parallel ranks: these must hold the
//   same
//     KV heads, so tp > num_kv_heads and t <= tp / num_kv_heads. (A group of dcp == pcp spans none:
//     vLLM's rule refused it wrongly, vllm#51429.)
//   dcp > 1: interleave <= block_size, and divides it
absl::Status CheckCpConfig(const CpConfig& config);

// Nothing is looked at if pcp * dcp == 1. Otherwise the layers in their order, the first that fails
// a rule gives the error, FAILED_PRECONDITION with the implementation's name:
//   (a) speculative and interleave > 1: supports_mtp_with_cp_non_trivial_interleave_size
//   (b) dcp > 1: can_return_lse_for_decode
//   (c) pcp > 1: supports_pcp
absl::Status CheckAttentionCpCompatibility(const CpConfig& config,
                                           absl::Span<const CpAttentionLayer> layers);

// Any backend of weft: every operation can return its LSE, a PCP rank's chunks are segments like
// others, and speculative decodes under DCP have their local lengths for each query.
AttentionImplTraits WeftAttentionTraits();

}  // namespace weft

#endif  // WEFT_CORE_OPS_CP_COMPATIBILITY_H_
