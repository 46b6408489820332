// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "vulkan/ops/grid.h"
#include "vulkan/ops/modules.h"
#include "vulkan/ops/ops.h"
#include "vulkan/ops/segments.h"

namespace weft::vulkan {
namespace {

absl::Status NotBuilt(std::string_view what) {
  return absl::UnimplementedError(absl::StrCat(what, ": not built yet on vulkan"));
}

absl::Status CheckCounts(const AttentionSpec& spec, const KvCacheLayout& layout) {
  for (const auto& [name, value] :
       {std::pair("num_heads", spec.num_heads), std::pair("block_size", layout.block_size())}) {
    if (value > std::numeric_limits<int32_t>::max()) {
      return absl::UnimplementedError(
          absl::StrCat(name, " ", value, ": must fit 31 bits on vulkan"));
    }
  }
  // Kernels count a head's bytes in 32 bits.
  for (const auto& [name, strides] :
       {std::pair("key", layout.key_strides()), std::pair("value", layout.value_strides())}) {
    const int64_t bound = std::numeric_limits<uint32_t>::max() / (layout.head_size() * 4);
    if (strides.inner > 0 && strides.split > bound) {
      return absl::UnimplementedError(
          absl::StrCat(name, " split ", strides.split, ": must be at most ", bound, " on vulkan"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<const Kernel*> GetKernel(Device& device, const ShaderModule& module,
                                        const AttentionShape& shape) {
  return device.kernels().Get({&module, shape.Constants(), shape.subgroup});
}

absl::StatusOr<AttentionKernels> MakeKernels(Device& device, const AttentionSpec& spec,
                                             const KvCacheLayout& layout) {
  const DeviceLimits& limits = device.limits();
  const int64_t bucket = HeadBucket(spec.head_size);
  const DType dtype = KernelDType(spec.dtype, layout.dtype());
  AttentionKernels kernels;
  ASSIGN_OR_RETURN(kernels.merge,
                   device.kernels().Get({&AttentionMergeModule(), MergeConstants(limits)}));
  kernels.prefill_shape = PrefillShape(limits, dtype, bucket, /*aligned=*/false);
  kernels.decode_shape = DecodeShape(limits, dtype, bucket, /*aligned=*/false, spec.group_size());
  ASSIGN_OR_RETURN(kernels.any_prefill,
                   GetKernel(device, AttentionPrefillModule(), kernels.prefill_shape));
  ASSIGN_OR_RETURN(kernels.any_decode,
                   GetKernel(device, AttentionDecodeModule(), kernels.decode_shape));
  // On a software device a second kernel costs more than the first one's branches.
  const uint64_t bits =
      StrideBits(layout, layout.key_strides()) | StrideBits(layout, layout.value_strides());
  if (limits.is_software || !IsAligned(bits, PieceBytes(spec.dtype, layout.dtype()))) {
    return kernels;
  }
  AttentionShape prefill = PrefillShape(limits, dtype, bucket, /*aligned=*/true);
  AttentionShape decode = DecodeShape(limits, dtype, bucket, /*aligned=*/true, spec.group_size());
  ASSIGN_OR_RETURN(kernels.prefill, GetKernel(device, AttentionPrefillModule(), prefill));
  // f32 decodes do without a kernel of their own, to save pipelines.
  if (dtype == DType::kF32) return kernels;
  // A decode knows whether the cache is fp8. A prefill asks: on an H200 (driver 580.159) the one
  // that knew took five times as long; why is not known.
  decode.narrow = IsFp8(layout.dtype()) ? 1 : 0;
  ASSIGN_OR_RETURN(kernels.decode, GetKernel(device, AttentionDecodeModule(), decode));
  return kernels;
}

}  // namespace

absl::Status SupportsAttention(const Device& device, const AttentionSpec& spec,
                               const KvCacheLayout& layout) {
  RETURN_IF_ERROR(ValidateForLayout(spec, layout));
  if (spec.kv_dtype != spec.dtype && !IsFp8(spec.kv_dtype)) {
    return NotBuilt(
        absl::StrCat("kv_dtype ", Name(spec.kv_dtype), " with dtype ", Name(spec.dtype)));
  }
  if (spec.head_size < kMinHeadSize || spec.head_size > kMaxHeadSize) {
    return absl::UnimplementedError(absl::StrCat("head_size ", spec.head_size, ": must be in [",
                                                 kMinHeadSize, ", ", kMaxHeadSize, "] on vulkan"));
  }
  RETURN_IF_ERROR(CheckCounts(spec, layout));
  const int64_t shared = DecodeSharedBytes(DecodeShape(
      device.limits(), KernelDType(spec.dtype, spec.kv_dtype), HeadBucket(spec.head_size),
      /*aligned=*/true, spec.group_size()));
  if (shared > device.limits().max_shared_memory_bytes) {
    return absl::UnimplementedError(absl::StrCat("the decode kernel takes ", shared,
                                                 " bytes of shared memory, the device has ",
                                                 device.limits().max_shared_memory_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const PreparedAttention>> PrepareAttention(
    Device& device, DeviceId id, const AddressMap& allocations, const AttentionSpec& spec,
    const KvCacheLayout& layout) {
  RETURN_IF_ERROR(SupportsAttention(device, spec, layout));
  ASSIGN_OR_RETURN(const AttentionKernels kernels, MakeKernels(device, spec, layout));
  PlanConfig config;
  config.tile_tokens = TileTokens(kernels.prefill_shape, spec.group_size());
  return std::make_shared<const VulkanPreparedAttention>(spec, layout, id, config, &allocations,
                                                         kernels);
}

std::string VulkanPreparedAttention::Explain() const {
  return absl::StrCat("vulkan, scalar tier: ", spec().ToString(),
                      "\n  prefill: ", kernels_.prefill_shape.ToString(), "; tiles of ",
                      plan_config().tile_tokens,
                      " query tokens\n  decode: ", kernels_.decode_shape.ToString());
}

}  // namespace weft::vulkan
