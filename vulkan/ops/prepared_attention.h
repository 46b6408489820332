// SPDX-License-Identifier: Apache-2.0
//
// VulkanPreparedAttention: the pipelines of one (spec, layout).
#ifndef WEFT_VULKAN_OPS_PREPARED_ATTENTION_H_
#define WEFT_VULKAN_OPS_PREPARED_ATTENTION_H_

#include <string>

#include "core/prepared_attention.h"
#include "vulkan/ops/attention_shape.h"
#include "vulkan/runtime/kernel.h"

namespace weft::vulkan {

struct AttentionKernels {
  AttentionShape prefill_shape;  // of any_prefill; that of prefill, but for the access to memory
  AttentionShape decode_shape;
  // For caches of which every row lies in whole pieces; null: the others are used.
  const Kernel* prefill = nullptr;
  const Kernel* decode = nullptr;
  // For any cache.
  const Kernel* any_prefill = nullptr;
  const Kernel* any_decode = nullptr;
  const Kernel* merge = nullptr;
};

class VulkanPreparedAttention final : public PreparedAttention {
 public:
  VulkanPreparedAttention(const AttentionSpec& spec, const KvCacheLayout& layout, DeviceId id,
                          const PlanConfig& config, const AddressMap* allocations,
                          const AttentionKernels& kernels)
      : PreparedAttention(spec, layout, id, config, allocations), kernels_(kernels) {}

  std::string Explain() const override;

  const AttentionKernels& kernels() const { return kernels_; }

 private:
  AttentionKernels kernels_;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_PREPARED_ATTENTION_H_
