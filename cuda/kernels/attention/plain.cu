// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/instances.h"
#include "cuda/kernels/attention/plain.cuh"

namespace weft::cuda {
namespace {

template <int kDims>
AttentionKernels PlainKernels() {
  AttentionKernels kernels;
  kernels.plain = true;
  kernels.prefill.function = reinterpret_cast<const void*>(&PlainKernel<kDims>);
  kernels.prefill.threads = kPlainThreads;
  kernels.prefill.shared_bytes = PlainSharedBytes(kDims);
  kernels.prefill.rows = kPlainRows;
  kernels.decode = kernels.prefill;
  return kernels;
}

}  // namespace

#define WEFT_DEFINE(dims) \
  AttentionKernels PlainAttention##dims() { return PlainKernels<dims>(); }
WEFT_PLAIN_ATTENTION_INSTANCES(WEFT_DEFINE)
#undef WEFT_DEFINE

}  // namespace weft::cuda
