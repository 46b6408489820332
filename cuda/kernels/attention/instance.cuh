// SPDX-License-Identifier: Apache-2.0
//
// For the .cu files of instantiations: WEFT_DEFINE_ATTENTION(type, kind, dims) defines one row of
// the table.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_
#define WEFT_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_

#include "cuda/kernels/attention/decode.cuh"
#include "cuda/kernels/attention/instances.h"
#include "cuda/kernels/attention/prefill.cuh"

namespace weft::cuda {

using F16 = __half;
using BF16 = __nv_bfloat16;

template <typename T, KvKind kKind, int kDims>
AttentionKernels TensorKernels() {
  constexpr int kBytes = Operands<T, kKind, kDims>::kElementBytes;
  using OfPrefill = PrefillShape<kDims>;
  using OfDecode = DecodeShape<kDims, kBytes>;
  AttentionKernels kernels;
  kernels.prefill.function = reinterpret_cast<const void*>(&PrefillKernel<T, kKind, kDims>);
  kernels.prefill.threads = OfPrefill::kThreads;
  kernels.prefill.rows = OfPrefill::kRows;
  kernels.prefill.stages = 2;
  kernels.prefill.stage_bytes = OfPrefill::StageBytes(kBytes);
  kernels.prefill.shared_bytes = OfPrefill::SharedBytes(kBytes, kernels.prefill.stages);
  kernels.decode.function = reinterpret_cast<const void*>(&DecodeKernel<T, kKind, kDims>);
  kernels.decode.threads = kMaxDecodeThreads;
  kernels.decode.rows = OfDecode::kRows;
  kernels.decode.stages = OfDecode::kStages;
  kernels.decode.stage_bytes = OfDecode::kStageBytes;
  kernels.state_bytes = OfDecode::kStateBytes;
  kernels.decode_device.min_warps = OfDecode::kFewestWarps;
  return kernels;
}

#define WEFT_DEFINE_ATTENTION(type, kind, dims)       \
  AttentionKernels Attention##type##kind##dims() {    \
    return TensorKernels<type, KvKind::kind, dims>(); \
  }

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_
