// SPDX-License-Identifier: Apache-2.0
//
// The kernels of attention for one layer, and their launch.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_ATTENTION_H_
#define WEFT_CUDA_KERNELS_ATTENTION_ATTENTION_H_

#include <cstdint>

#include "cuda/kernels/attention/params.h"
#include "cuda/kernels/attention/schedule.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// One kernel as a launch needs it.
struct AttentionKernel {
  const void* function = nullptr;
  int threads = 0;
  int rows = 0;          // query rows, or heads, of a block
  int shared_bytes = 0;  // dynamic
  // Of its ring of tiles (a decode's: of each warp's), fewer where the device has less shared
  // memory.
  int stages = 1;
  int stage_bytes = 0;
};

// Up to three launches: prefill tiles, granules of decode rows, and the merge of the granules.
struct AttentionKernels {
  AttentionKernel decode;
  AttentionKernel prefill;
  AttentionKernel merge;
  bool plain = false;  // decode and prefill are PlainKernel
  DecodeDevice decode_device;
  int prefill_blocks_at_once = 1;  // of a multiprocessor
  int state_bytes = 0;             // shared memory for each state that waits in a decode block
  // The device (compute capability 9.0 or later) can start a kernel before the one before is done.
  bool overtakes = false;
};

// Which kernels a layer takes. `type` is that of the layer (f32, f16 or bf16), `kv_type` that of
// the cache, head_size in [kMinHeadSize, kMaxHeadSize]. Loads them on the current device.
// cudaErrorInvalidValue: no such kernels; cudaErrorInvalidConfiguration: the device has less shared
// memory for a block than they need.
cudaError_t LoadAttentionKernels(ElementType type, ElementType kv_type, int64_t head_size,
                                 int64_t group_size, AttentionKernels* kernels);

// Puts the launches on `stream`. Does not wait; allocates nothing.
cudaError_t LaunchAttention(const AttentionKernels& kernels, const AttentionWork& work,
                            cudaStream_t stream);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_ATTENTION_H_
