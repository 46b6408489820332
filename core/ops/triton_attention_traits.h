// SPDX-License-Identifier: Apache-2.0
//
// TritonAttentionTraits: what seed 002's TritonAttentionBackend and its builder say about
// themselves, with the same answers. These are the seed's bounds and not weft's: a backend of weft
// is asked with Backend::Supports, and takes any block size, for one.
#ifndef WEFT_CORE_OPS_TRITON_ATTENTION_TRAITS_H_
#define WEFT_CORE_OPS_TRITON_ATTENTION_TRAITS_H_

#include <array>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_spec.h"
#include "core/dtype.h"

namespace weft {

// How an output may be quantised inside the attention kernel (seed 002, QuantKey).
struct OutputQuantization {
  enum class Granularity : uint8_t { kPerTensor, kPerToken, kBlock };
  DType dtype = DType::kF8E4M3;
  bool is_static = true;  // the scale is known before the kernel runs
  Granularity granularity = Granularity::kPerTensor;
  bool symmetric = true;  // no zero point
};

// Which batches a captured graph may hold (seed 002, AttentionCGSupport).
enum class GraphSupport : uint8_t { kNever, kUniformSingleTokenDecode, kUniformBatch, kAlways };

struct TritonAttentionTraits {
  static constexpr std::string_view kName = "TRITON_ATTN";
  static constexpr std::array<DType, 3> kSupportedDtypes = {DType::kF16, DType::kBF16, DType::kF32};
  static constexpr bool kAcceptOutputBuffer = true;
  static constexpr GraphSupport kGraphSupport = GraphSupport::kAlways;
  static constexpr int64_t kMinHeadSize = 32;
  static constexpr int64_t kBlockSizeMultiple = 16;

  // get_supported_dtypes() as a question.
  static bool SupportsDtype(DType dtype);

  // INVALID_ARGUMENT: below kMinHeadSize.
  static absl::Status ValidateHeadSize(int64_t head_size);

  // get_kv_cache_shape: {num_blocks, 2, block_size, num_kv_heads, head_size}, the shape of
  // KvCacheLayout::Nhd. INVALID_ARGUMENT: a block size that is no multiple of 16, or a number < 1.
  static absl::StatusOr<std::array<int64_t, 5>> KvCacheShape(int64_t num_blocks, int64_t block_size,
                                                             int64_t num_kv_heads,
                                                             int64_t head_size);

  // use_cascade_attention: never, whatever the prefix.
  static constexpr bool UseCascadeAttention(int64_t /*common_prefix_len*/) { return false; }

  // fused_output_quant_supported: a static scale for the whole tensor into e4m3, and nothing else.
  static bool FusedOutputQuantSupported(const OutputQuantization& quantization);

  // What TritonAttentionImpl's constructor refuses: a type that is not decoder (UNIMPLEMENTED), a
  // head size below 32, sinks that are not one for each head.
  static absl::Status ValidateSpec(const AttentionSpec& spec);
};

}  // namespace weft

#endif  // WEFT_CORE_OPS_TRITON_ATTENTION_TRAITS_H_
