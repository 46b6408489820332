// SPDX-License-Identifier: Apache-2.0
#include "core/ops/cp_compatibility.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft {
namespace {

template <typename... T>
absl::Status Invalid(const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat("context parallelism: ", text...));
}

absl::Status CheckSizes(const CpConfig& config) {
  for (const auto& [name, value] :
       {std::pair("tensor_parallel_size", config.tensor_parallel_size),
        std::pair("prefill_context_parallel_size", config.prefill_context_parallel_size),
        std::pair("decode_context_parallel_size", config.decode_context_parallel_size),
        std::pair("cp_kv_cache_interleave_size", config.cp_kv_cache_interleave_size),
        std::pair("dcp_kv_cache_interleave_size", config.dcp_kv_cache_interleave_size),
        std::pair("block_size", config.block_size),
        std::pair("num_kv_heads", config.num_kv_heads)}) {
    if (value < 1) return Invalid(name, " is ", value, ", must be >= 1");
  }
  return absl::OkStatus();
}

// Tensor-parallel ranks that a DCP group spans.
absl::StatusOr<int64_t> SpannedTpRanks(const CpConfig& config) {
  const int64_t tp = config.tensor_parallel_size;
  const int64_t pcp = config.prefill_context_parallel_size;
  const int64_t dcp = config.decode_context_parallel_size;
  if (pcp == 1) {
    if (tp % dcp == 0) return dcp;
    return Invalid("tensor_parallel_size ", tp, " is no multiple of decode_context_parallel_size ",
                   dcp);
  }
  if (dcp == 1 || dcp == pcp) return 1;
  if (CheckedMul(tp, pcp) == dcp) return tp;
  return Invalid("decode_context_parallel_size is ", dcp, ", with prefill_context_parallel_size ",
                 pcp, " and tensor_parallel_size ", tp, " it must be 1, ", pcp,
                 " or their product");
}

}  // namespace

int64_t EffectiveInterleave(const CpConfig& config) {
  return config.dcp_kv_cache_interleave_size > 1 ? config.dcp_kv_cache_interleave_size
                                                 : config.cp_kv_cache_interleave_size;
}

absl::Status CheckCpConfig(const CpConfig& config) {
  RETURN_IF_ERROR(CheckSizes(config));
  ASSIGN_OR_RETURN(const int64_t spanned, SpannedTpRanks(config));
  const int64_t tp = config.tensor_parallel_size;
  const int64_t kv_heads = config.num_kv_heads;
  if (spanned > 1 && !config.is_mla && (tp <= kv_heads || spanned > tp / kv_heads)) {
    return Invalid("a decode group of ", config.decode_context_parallel_size, " spans ", spanned,
                   " tensor-parallel ranks, but with ", kv_heads, " KV heads only ",
                   tp > kv_heads ? tp / kv_heads : 1, " of the ", tp, " hold the same ones");
  }
  const int64_t interleave = EffectiveInterleave(config);
  if (config.decode_context_parallel_size > 1 && config.block_size % interleave != 0) {
    return Invalid("an interleave of ", interleave, " tokens ",
                   interleave > config.block_size ? "exceeds" : "does not divide",
                   " the block size ", config.block_size);
  }
  return absl::OkStatus();
}

absl::Status CheckAttentionCpCompatibility(const CpConfig& config,
                                           absl::Span<const CpAttentionLayer> layers) {
  const int64_t pcp = config.prefill_context_parallel_size;
  const int64_t dcp = config.decode_context_parallel_size;
  if (pcp == 1 && dcp == 1) return absl::OkStatus();
  const int64_t interleave = EffectiveInterleave(config);
  for (const CpAttentionLayer& layer : layers) {
    if (!layer.impl) continue;
    const auto refuse = [&](auto... text) {
      return absl::FailedPreconditionError(
          absl::StrCat(layer.name, ": ", layer.impl->name, " ", text...));
    };
    if (config.speculative && interleave > 1 &&
        !layer.impl->supports_mtp_with_cp_non_trivial_interleave_size) {
      return refuse("does not support speculative decoding with a KV cache interleave of ",
                    interleave, "; set cp_kv_cache_interleave_size to 1");
    }
    if (dcp > 1 && !layer.impl->can_return_lse_for_decode) {
      return refuse("does not return the softmax LSE of decodes, which decode context parallelism ",
                    "of ", dcp,
                    " needs; choose another implementation or set "
                    "decode_context_parallel_size to 1");
    }
    if (pcp > 1 && !layer.impl->supports_pcp) {
      return refuse("does not support prefill context parallelism, of ", pcp,
                    "; choose another implementation or set prefill_context_parallel_size to 1");
    }
  }
  return absl::OkStatus();
}

AttentionImplTraits WeftAttentionTraits() {
  AttentionImplTraits traits;
  traits.name = "weft::AttentionLayer";
  traits.can_return_lse_for_decode = true;
  traits.supports_pcp = true;
  traits.supports_mtp_with_cp_non_trivial_interleave_size = true;
  return traits;
}

}  // namespace weft
