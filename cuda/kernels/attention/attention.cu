// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/attention/attention.h"

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/instances.h"
#include "cuda/kernels/attention/merge.cuh"

namespace weft::cuda {
namespace {

AttentionKernel MergeKernelFor(int64_t head_size) {
  AttentionKernel kernel;
  kernel.threads = kMergeThreads;
  kernel.rows = 1;
  // States of whole vectors: rows of a multiple of 4 floats.
  if (head_size % 4 != 0) {
    kernel.function = reinterpret_cast<const void*>(&MergeKernel<1, 256>);
  } else if (head_size <= 64) {
    kernel.function = reinterpret_cast<const void*>(&MergeKernel<4, 16>);
  } else if (head_size <= 128) {
    kernel.function = reinterpret_cast<const void*>(&MergeKernel<4, 32>);
  } else {
    kernel.function = reinterpret_cast<const void*>(&MergeKernel<4, 64>);
  }
  return kernel;
}

struct Instance {
  ElementType type;
  ElementType kv_type;
  int bucket;
  AttentionKernels (*make)();
};

constexpr ElementType F16 = ElementType::kF16;
constexpr ElementType BF16 = ElementType::kBF16;

// The cache's type as the table names it.
constexpr ElementType KvType(ElementType type, const char* kind) {
  return kind[1] == 'S'   ? type
         : kind[2] == '4' ? ElementType::kE4M3
                          : ElementType::kE5M2;
}

constexpr Instance kInstances[] = {
#define WEFT_ENTRY(type, kind, dims) {type, KvType(type, #kind), dims, &Attention##type##kind##dims},
    WEFT_ATTENTION_INSTANCES(WEFT_ENTRY)
#undef WEFT_ENTRY
};

constexpr Instance kPlainInstances[] = {
#define WEFT_ENTRY(dims) \
  {ElementType::kF32, ElementType::kF32, dims, &PlainAttention##dims},
    WEFT_PLAIN_ATTENTION_INSTANCES(WEFT_ENTRY)
#undef WEFT_ENTRY
};

bool IsFp8(ElementType type) { return type >= ElementType::kE4M3; }

bool FindKernels(ElementType type, ElementType kv_type, int bucket, AttentionKernels* kernels) {
  for (const Instance& instance : kPlainInstances) {
    if (type == ElementType::kF32 && instance.bucket == bucket) {
      *kernels = instance.make();
      return true;
    }
  }
  const ElementType computed = IsFp8(kv_type) ? F16 : type;
  for (const Instance& instance : kInstances) {
    if (instance.type == computed && instance.kv_type == kv_type && instance.bucket == bucket) {
      *kernels = instance.make();
      return true;
    }
  }
  return false;
}

cudaError_t Load(const AttentionKernel& kernel, int most) {
  if (kernel.shared_bytes > most) return cudaErrorInvalidConfiguration;
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel.function);
  if (error != cudaSuccess || kernel.shared_bytes == 0) return error;
  return cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kernel.shared_bytes);
}

// `overtakes`: the kernel may start before the one before it is done, and waits for it itself.
template <typename... Arguments>
cudaError_t Launch(const AttentionKernel& kernel, int64_t blocks, cudaStream_t stream,
                   bool overtakes, Arguments... arguments) {
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(kernel.threads));
  config.dynamicSmemBytes = static_cast<size_t>(kernel.shared_bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = overtakes ? 1 : 0;
  void* pointers[] = {&arguments...};
  return cudaLaunchKernelExC(&config, kernel.function, pointers);
}

uint32_t Chunks(int64_t rows, int rows_of_block) {
  return static_cast<uint32_t>((rows + rows_of_block - 1) / rows_of_block);
}

}  // namespace

cudaError_t LoadAttentionKernels(ElementType type, ElementType kv_type, int64_t head_size,
                                 AttentionKernels* kernels) {
  if (head_size < kMinHeadSize || head_size > kMaxHeadSize ||
      !FindKernels(type, kv_type, HeadBucket(head_size), kernels)) {
    return cudaErrorInvalidValue;
  }
  kernels->merge = MergeKernelFor(head_size);
  int device = 0;
  int most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  if (kernels->stages == 2 && kernels->prefill.shared_bytes > most) {
    kernels->stages = 1;
    kernels->prefill.shared_bytes -= kernels->prefill_stage_bytes;
  }
  for (const AttentionKernel* kernel : {&kernels->decode, &kernels->prefill, &kernels->merge}) {
    if (error = Load(*kernel, most); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t LaunchAttention(const AttentionKernels& kernels, const AttentionWork& work,
                            cudaStream_t stream) {
  AttentionParams params = work.params;
  params.stages = static_cast<uint32_t>(kernels.stages);
  cudaError_t error = cudaSuccess;
  if (work.tiles > 0) {
    params.num_work = static_cast<uint32_t>(work.tiles);
    params.chunks = Chunks(work.tile_rows, kernels.prefill.rows);
    const int64_t blocks = work.tiles * params.num_kv_heads * params.chunks;
    error = kernels.plain ? Launch(kernels.prefill, blocks, stream, false, params, false)
                          : Launch(kernels.prefill, blocks, stream, false, params);
    if (error != cudaSuccess) return error;
  }
  if (work.splits == 0) return cudaSuccess;
  params.num_work = static_cast<uint32_t>(work.splits);
  params.chunks = Chunks(params.group_size, kernels.decode.rows);
  const int64_t blocks = work.splits * params.num_kv_heads * params.chunks;
  error = kernels.plain ? Launch(kernels.decode, blocks, stream, false, params, true)
                        : Launch(kernels.decode, blocks, stream, false, params);
  if (error != cudaSuccess) return error;
  params.num_work = static_cast<uint32_t>(work.decode_rows);
  return Launch(kernels.merge, work.decode_rows * params.num_heads, stream, true, params);
}

}  // namespace weft::cuda
