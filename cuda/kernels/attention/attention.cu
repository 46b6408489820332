// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cuda/kernels/attention/attention.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/instances.h"
#include "cuda/kernels/attention/merge.cuh"
#include "cuda/kernels/attention/operand.cuh"

namespace weft::cuda {
namespace {

AttentionKernel MergeKernelFor(int64_t head_size) {
  AttentionKernel kernel;
  kernel.threads = kMergeThreads;
  kernel.rows = 1;
  switch (HeadBucket(head_size)) {
    case 64:
      kernel.function = reinterpret_cast<const void*>(&MergeKernel<64>);
      break;
    case 128:
      kernel.function = reinterpret_cast<const void*>(&MergeKernel<128>);
      break;
    default:
      kernel.function = reinterpret_cast<const void*>(&MergeKernel<256>);
      break;
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

// The type of a cache of `kind` for kernels of `type`.
constexpr ElementType KvType(ElementType type, KvKind kind) {
  return kind == KvKind::kSame   ? type
         : kind == KvKind::kE4M3 ? ElementType::kE4M3
                                 : ElementType::kE5M2;
}

constexpr Instance kInstances[] = {
#define WEFT_ENTRY(type, kind, dims) \
  {type, KvType(type, KvKind::kind), dims, &Attention##type##kind##dims},
    WEFT_ATTENTION_INSTANCES(WEFT_ENTRY)
#undef WEFT_ENTRY
};

constexpr Instance kPlainInstances[] = {
#define WEFT_ENTRY(dims) {ElementType::kF32, ElementType::kF32, dims, &PlainAttention##dims},
    WEFT_PLAIN_ATTENTION_INSTANCES(WEFT_ENTRY)
#undef WEFT_ENTRY
};

cudaError_t Load(const AttentionKernel& kernel, int most) {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel.function);
  if (error != cudaSuccess) return error;
  if (kernel.shared_bytes > most - static_cast<int>(attributes.sharedSizeBytes))
    return cudaErrorInvalidConfiguration;
  return cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kernel.shared_bytes);
}

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

// Takes as many stages as a block's shared memory of `most` bytes has room for.
cudaError_t LoadPrefill(AttentionKernel& kernel, int most) {
  while (kernel.shared_bytes > most && kernel.stages > 1) {
    --kernel.stages;
    kernel.shared_bytes -= kernel.stage_bytes;
  }
  return Load(kernel, most);
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

// As many warps to a block, in the end, as its shared memory has room for.
cudaError_t LoadDecode(AttentionKernels& kernels, int64_t group_size, int most) {
  AttentionKernel& kernel = kernels.decode;
  if (kernels.plain) return Load(kernel, most);
  const int parts =
      kernels.part_bytes * static_cast<int>(std::min<int64_t>(group_size, kernel.rows));
  kernels.warp_bytes = kernel.shared_bytes;
  kernels.max_warps = kMaxDecodeThreads / 32;
  while (kernels.max_warps > 1 && parts + kernels.max_warps * kernels.warp_bytes > most - 1024)
    kernels.max_warps /= 2;
  kernels.part_bytes = parts;
  AttentionKernel largest = kernel;
  largest.shared_bytes = parts + kernels.max_warps * kernels.warp_bytes;
  return Load(largest, most);
}

// Few warps to a granule make the best of the memory; more are done sooner, where there are too few
// granules to keep the device busy.
AttentionKernel DecodeFor(const AttentionKernels& kernels, int64_t blocks) {
  AttentionKernel kernel = kernels.decode;
  if (kernels.plain) return kernel;
  int warps = std::min(kernels.min_warps, kernels.max_warps);
  while (warps < kernels.max_warps && blocks * warps < int64_t{2} * kernels.multiprocessors)
    warps *= 2;
  kernel.threads = warps * 32;
  kernel.shared_bytes = kernels.part_bytes + warps * kernels.warp_bytes;
  return kernel;
}

uint32_t Chunks(int64_t rows, int rows_of_block) {
  return static_cast<uint32_t>((rows + rows_of_block - 1) / rows_of_block);
}

}  // namespace

cudaError_t LoadAttentionKernels(ElementType type, ElementType kv_type, int64_t head_size,
                                 int64_t group_size, AttentionKernels* kernels) {
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
  error = cudaDeviceGetAttribute(&kernels->multiprocessors, cudaDevAttrMultiProcessorCount, device);
  int major = 0;
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  kernels->overtakes = major >= 9;
  if (error == cudaSuccess) error = LoadPrefill(kernels->prefill, most);
  if (error == cudaSuccess) error = LoadDecode(*kernels, group_size, most);
  if (error == cudaSuccess) error = Load(kernels->merge, most);
  return error;
}

cudaError_t LaunchAttention(const AttentionKernels& kernels, const AttentionWork& work,
                            cudaStream_t stream) {
  AttentionParams params = work.params;
  params.prefill_stages = static_cast<uint32_t>(kernels.prefill.stages);
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
  const AttentionKernel decode = DecodeFor(kernels, blocks);
  error = kernels.plain ? Launch(decode, blocks, stream, false, params, true)
                        : Launch(decode, blocks, stream, false, params);
  if (error != cudaSuccess) return error;
  params.num_work = static_cast<uint32_t>(work.decode_rows);
  const int64_t rows = work.decode_rows * params.num_heads;
  const bool by_warps = work.splits <= work.decode_rows * kMergeByWarps;
  return Launch(kernels.merge, by_warps ? (rows + kMergeWarps - 1) / kMergeWarps : rows, stream,
                kernels.overtakes, params, by_warps);
}

}  // namespace weft::cuda
