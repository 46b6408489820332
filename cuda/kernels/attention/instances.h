// SPDX-License-Identifier: Apache-2.0
//
// Where the instantiations of WEFT_ATTENTION_INSTANCES (config.h) are had: one function for each
// row of the table, defined in a .cu file for each pair of types.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_INSTANCES_H_
#define WEFT_CUDA_KERNELS_ATTENTION_INSTANCES_H_

#include "cuda/kernels/attention/attention.h"
#include "cuda/kernels/attention/config.h"

namespace weft::cuda {

#define WEFT_DECLARE(type, kind, dims) AttentionKernels Attention##type##kind##dims();
WEFT_ATTENTION_INSTANCES(WEFT_DECLARE)
#undef WEFT_DECLARE

#define WEFT_DECLARE(dims) AttentionKernels PlainAttention##dims();
WEFT_PLAIN_ATTENTION_INSTANCES(WEFT_DECLARE)
#undef WEFT_DECLARE

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_INSTANCES_H_
