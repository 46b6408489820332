// SPDX-License-Identifier: Apache-2.0
//
// VulkanPreparedAttention: the pipelines of one (spec, layout).
#ifndef WEFT_VULKAN_OPS_PREPARED_ATTENTION_H_
#define WEFT_VULKAN_OPS_PREPARED_ATTENTION_H_

#include <optional>
#include <string>

#include "core/prepared_attention.h"
#include "vulkan/ops/attention_shape.h"
#include "vulkan/runtime/kernel.h"

namespace weft::vulkan {

struct AttentionKernels {
  AttentionShape prefill_shape;
  AttentionShape decode_shape;
  const Kernel* prefill = nullptr;
  const Kernel* decode = nullptr;
};

class VulkanPreparedAttention final : public PreparedAttention {
 public:
  // `fast` reads keys and values 16 bytes at once; absent where the layout does not allow it.
  // `plain` reads them element by element, for caches that start anywhere.
  VulkanPreparedAttention(const AttentionSpec& spec, const KvCacheLayout& layout, DeviceId id,
                          const PlanConfig& config, std::optional<AttentionKernels> fast,
                          AttentionKernels plain, const Kernel* merge)
      : PreparedAttention(spec, layout, id, config), fast_(fast), plain_(plain), merge_(merge) {}

  std::string Explain() const override;

  // `cache_aligned`: all strides and bases of the cache are multiples of 16 bytes.
  const AttentionKernels& kernels(bool cache_aligned) const {
    return cache_aligned && fast_.has_value() ? *fast_ : plain_;
  }
  const Kernel& merge() const { return *merge_; }

 private:
  std::optional<AttentionKernels> fast_;
  AttentionKernels plain_;
  const Kernel* merge_;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_PREPARED_ATTENTION_H_
