// SPDX-License-Identifier: Apache-2.0
//
// CudaPreparedAttention: the kernels of one (spec, layout).
#ifndef WEFT_CUDA_RUNTIME_PREPARED_ATTENTION_H_
#define WEFT_CUDA_RUNTIME_PREPARED_ATTENTION_H_

#include <string>

#include "core/prepared_attention.h"
#include "cuda/kernels/attention/attention.h"

namespace weft::cuda {

class CudaPreparedAttention final : public PreparedAttention {
 public:
  CudaPreparedAttention(const AttentionSpec& spec, const KvCacheLayout& layout, DeviceId id,
                        const AddressMap* allocations, const AttentionKernels& kernels);

  DType weight_dtype() const override {
    if (kernels_.plain) return DType::kF32;
    return IsFp8(layout().dtype()) ? DType::kF16 : spec().dtype;
  }
  std::string Explain() const override;

  const AttentionKernels& kernels() const { return kernels_; }

 private:
  AttentionKernels kernels_;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_RUNTIME_PREPARED_ATTENTION_H_
