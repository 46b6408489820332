// SPDX-License-Identifier: Apache-2.0
#include "core/ops/triton_attention_traits.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace weft {

bool TritonAttentionTraits::SupportsDtype(DType dtype) {
  return std::find(kSupportedDtypes.begin(), kSupportedDtypes.end(), dtype) !=
         kSupportedDtypes.end();
}

absl::Status TritonAttentionTraits::ValidateHeadSize(int64_t head_size) {
  if (head_size >= kMinHeadSize) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(kName, ": head size is ", head_size, ", must be >= ", kMinHeadSize));
}

absl::StatusOr<std::array<int64_t, 5>> TritonAttentionTraits::KvCacheShape(int64_t num_blocks,
                                                                           int64_t block_size,
                                                                           int64_t num_kv_heads,
                                                                           int64_t head_size) {
  for (const auto& [name, value] :
       {std::pair("number of blocks", num_blocks), std::pair("block size", block_size),
        std::pair("number of KV heads", num_kv_heads), std::pair("head size", head_size)}) {
    if (value < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(kName, ": ", name, " is ", value, ", must be >= 1"));
    }
  }
  if (block_size % kBlockSizeMultiple != 0) {
    return absl::InvalidArgumentError(absl::StrCat(kName, ": block size is ", block_size,
                                                   ", must be a multiple of ", kBlockSizeMultiple));
  }
  return std::array<int64_t, 5>{num_blocks, 2, block_size, num_kv_heads, head_size};
}

bool TritonAttentionTraits::FusedOutputQuantSupported(const OutputQuantization& quantization) {
  return quantization.dtype == DType::kF8E4M3 && quantization.is_static &&
         quantization.granularity == OutputQuantization::Granularity::kPerTensor &&
         quantization.symmetric;
}

absl::Status TritonAttentionTraits::ValidateSpec(const AttentionSpec& spec) {
  RETURN_IF_ERROR(ValidateHeadSize(spec.head_size));
  return spec.Validate();
}

}  // namespace weft
