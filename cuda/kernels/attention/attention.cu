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
cudaError_t LoadPrefill(AttentionKernels& kernels, int most) {
  AttentionKernel& kernel = kernels.prefill;
  while (kernel.shared_bytes > most && kernel.stages > 1) {
    --kernel.stages;
    kernel.shared_bytes -= kernel.stage_bytes;
  }
  const cudaError_t error = Load(kernel, most);
  if (error != cudaSuccess) return error;
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(&kernels.prefill_blocks_at_once,
                                                       kernel.function, kernel.threads,
                                                       static_cast<size_t>(kernel.shared_bytes));
}

// `overtakes`: the kernel may start before the one before it is done, and waits for it itself.
template <typename... Arguments>
cudaError_t Launch(const AttentionKernel& kernel, int64_t blocks, cudaStream_t stream,
                   bool overtakes, const Arguments&... arguments) {
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
  // The driver copies them, and changes none.
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  return cudaLaunchKernelExC(&config, kernel.function, pointers);
}

// Shared memory of a decode block: rings, states of parts and (`folds`) of folded granules.
int DecodeBytes(const AttentionKernels& kernels, int warps, bool folds) {
  const int states = std::max(warps, 2) + (folds ? 1 : 0);
  return warps * kernels.decode.stages * kernels.decode.stage_bytes + states * kernels.state_bytes;
}

// As many warps to a block, in the end, as its shared memory has room for; and as many stages as
// leave room for some warps on a multiprocessor.
cudaError_t LoadDecode(AttentionKernels& kernels, int64_t group_size, int most) {
  AttentionKernel& kernel = kernels.decode;
  if (kernels.plain) return Load(kernel, most);
  kernels.state_bytes *= static_cast<int>(std::min<int64_t>(group_size, kernel.rows));
  cudaFuncAttributes attributes;
  cudaError_t error = cudaFuncGetAttributes(&attributes, kernel.function);
  if (error != cudaSuccess) return error;
  const int room = most - static_cast<int>(attributes.sharedSizeBytes);
  error = cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize, room);
  if (error != cudaSuccess) return error;
  DecodeDevice& device = kernels.decode_device;
  const int fewest_warps = device.min_warps;
  for (;; --kernel.stages) {
    device.max_warps = kMaxDecodeThreads / 32;
    while (device.max_warps > 1 && DecodeBytes(kernels, device.max_warps, true) > room)
      device.max_warps /= 2;
    device.min_warps = std::min(fewest_warps, device.max_warps);
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        &device.blocks_of_multiprocessor, kernel.function, device.min_warps * 32,
        static_cast<size_t>(DecodeBytes(kernels, device.min_warps, true)));
    if (error != cudaSuccess) return error;
    if (kernel.stages <= kFewestDecodeStages ||
        device.blocks_of_multiprocessor * device.min_warps >= kDecodeWarpsWanted) {
      break;
    }
  }
  return device.blocks_of_multiprocessor > 0 ? cudaSuccess : cudaErrorInvalidConfiguration;
}

uint32_t Chunks(int64_t rows, int rows_of_block) {
  return static_cast<uint32_t>((rows + rows_of_block - 1) / rows_of_block);
}

cudaError_t LaunchPrefill(const AttentionKernels& kernels, const AttentionWork& work,
                          AttentionParams& params, cudaStream_t stream) {
  params.num_work = static_cast<uint32_t>(work.tiles);
  params.chunks = Chunks(work.tile_rows, kernels.prefill.rows);
  params.prefill_stages = static_cast<uint32_t>(kernels.prefill.stages);
  const int64_t blocks = work.tiles * params.num_kv_heads * params.chunks;
  return kernels.plain ? Launch(kernels.prefill, blocks, stream, false, params, false)
                       : Launch(kernels.prefill, blocks, stream, false, params);
}

cudaError_t LaunchMerge(const AttentionKernels& kernels, const AttentionWork& work,
                        AttentionParams& params, cudaStream_t stream) {
  params.num_work = static_cast<uint32_t>(work.decode_rows);
  const int64_t rows = work.decode_rows * params.num_heads;
  const bool by_warps = work.splits <= work.decode_rows * kMergeByWarps &&
                        rows >= int64_t{2} * kernels.decode_device.multiprocessors;
  return Launch(kernels.merge, by_warps ? (rows + kMergeWarps - 1) / kMergeWarps : rows, stream,
                kernels.overtakes, params, by_warps);
}

cudaError_t LaunchDecode(const AttentionKernels& kernels, const AttentionWork& work,
                         AttentionParams& params, cudaStream_t stream) {
  params.num_work = static_cast<uint32_t>(work.splits);
  params.chunks = Chunks(params.group_size, kernels.decode.rows);
  const DecodeWorkload workload = {work.splits, int64_t{params.num_kv_heads} * params.chunks,
                                   work.padded};
  params.unit_splits = 1;
  params.long_units = 0;
  if (kernels.plain) {
    const cudaError_t error =
        Launch(kernels.decode, work.splits * workload.blocks_of_split, stream, false, params, true);
    return error != cudaSuccess ? error : LaunchMerge(kernels, work, params, stream);
  }
  const DecodeSchedule schedule = ScheduleDecode(kernels.decode_device, workload);
  params.unit_splits = static_cast<uint32_t>(schedule.unit_splits);
  params.long_units = static_cast<uint32_t>(schedule.long_units);
  params.decode_stages = static_cast<uint32_t>(kernels.decode.stages);
  AttentionKernel decode = kernels.decode;
  decode.threads = schedule.warps * 32;
  decode.shared_bytes = DecodeBytes(kernels, schedule.warps, schedule.long_units > 0);
  const cudaError_t error = Launch(decode, schedule.blocks, stream, false, params);
  return error != cudaSuccess ? error : LaunchMerge(kernels, work, params, stream);
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
  error = cudaDeviceGetAttribute(&kernels->decode_device.multiprocessors,
                                 cudaDevAttrMultiProcessorCount, device);
  int major = 0;
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  kernels->overtakes = major >= 9;
  if (error == cudaSuccess) error = LoadPrefill(*kernels, most);
  if (error == cudaSuccess) error = LoadDecode(*kernels, group_size, most);
  if (error == cudaSuccess) error = Load(kernels->merge, most);
  return error;
}

cudaError_t LaunchAttention(const AttentionKernels& kernels, const AttentionWork& work,
                            cudaStream_t stream) {
  AttentionParams params = work.params;
  if (work.tiles > 0) {
    const cudaError_t error = LaunchPrefill(kernels, work, params, stream);
    if (error != cudaSuccess) return error;
  }
  return work.splits > 0 ? LaunchDecode(kernels, work, params, stream) : cudaSuccess;
}

}  // namespace weft::cuda
