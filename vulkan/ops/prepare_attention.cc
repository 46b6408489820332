// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
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
  return absl::OkStatus();
}

absl::StatusOr<AttentionKernels> MakeKernels(Device& device, const AttentionSpec& spec,
                                             int64_t bucket, bool aligned) {
  const DeviceLimits& limits = device.limits();
  AttentionKernels kernels;
  kernels.prefill_shape = PrefillShape(limits, spec.dtype, bucket, aligned);
  kernels.decode_shape = DecodeShape(limits, spec.dtype, bucket, aligned, spec.group_size());
  ASSIGN_OR_RETURN(kernels.prefill, device.kernels().Get({&AttentionPrefillModule(),
                                                          kernels.prefill_shape.Constants(),
                                                          kernels.prefill_shape.subgroup}));
  ASSIGN_OR_RETURN(kernels.decode, device.kernels().Get({&AttentionDecodeModule(),
                                                         kernels.decode_shape.Constants(),
                                                         kernels.decode_shape.subgroup}));
  return kernels;
}

std::string ExplainKernels(const AttentionKernels& kernels) {
  return absl::StrCat("  prefill: ", kernels.prefill_shape.ToString(),
                      "\n  decode: ", kernels.decode_shape.ToString(), "\n");
}

}  // namespace

absl::Status SupportsAttention(const Device& device, const AttentionSpec& spec,
                               const KvCacheLayout& layout) {
  RETURN_IF_ERROR(ValidateForLayout(spec, layout));
  if (spec.kv_dtype != spec.dtype) {
    return NotBuilt(absl::StrCat("kv_dtype ", Name(spec.kv_dtype), " with dtype ",
                                 Name(spec.dtype)));
  }
  if (spec.softcap != 0.0f) return NotBuilt("softcap");
  if (spec.window > 0) return NotBuilt("window");
  if (!spec.alibi_slopes.empty()) return NotBuilt("alibi_slopes");
  if (!spec.sinks.empty()) return NotBuilt("sinks");
  if (spec.head_size < kMinHeadSize || spec.head_size > kMaxHeadSize) {
    return absl::UnimplementedError(absl::StrCat("head_size ", spec.head_size, ": must be in [",
                                                 kMinHeadSize, ", ", kMaxHeadSize,
                                                 "] on vulkan"));
  }
  RETURN_IF_ERROR(CheckCounts(spec, layout));
  const int64_t shared =
      DecodeSharedBytes(DecodeShape(device.limits(), spec.dtype, HeadBucket(spec.head_size),
                                    /*aligned=*/true, spec.group_size()));
  if (shared > device.limits().max_shared_memory_bytes) {
    return absl::UnimplementedError(
        absl::StrCat("the decode kernel takes ", shared, " bytes of shared memory, the device has ",
                     device.limits().max_shared_memory_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const PreparedAttention>> PrepareAttention(
    Device& device, DeviceId id, const AttentionSpec& spec, const KvCacheLayout& layout) {
  RETURN_IF_ERROR(SupportsAttention(device, spec, layout));
  std::optional<AttentionKernels> fast;
  if (IsAligned(StrideBits(layout), 16)) {
    ASSIGN_OR_RETURN(
        fast, MakeKernels(device, spec, HeadBucket(spec.head_size), /*aligned=*/true));
  }
  // One bucket for all head sizes: this is for correctness, and pipelines cost time to make.
  ASSIGN_OR_RETURN(AttentionKernels plain,
                   MakeKernels(device, spec, kMaxHeadSize, /*aligned=*/false));
  ASSIGN_OR_RETURN(const Kernel* merge,
                   device.kernels().Get({&AttentionMergeModule(),
                                         MergeConstants(device.limits(), spec.dtype)}));
  PlanConfig config;
  config.tile_tokens = TileTokens((fast ? *fast : plain).prefill_shape, spec.group_size());
  return std::make_shared<const VulkanPreparedAttention>(spec, layout, id, config, std::move(fast),
                                                         std::move(plain), merge);
}

std::string VulkanPreparedAttention::Explain() const {
  std::string text = absl::StrCat("vulkan, scalar tier: ", spec().ToString(), "\n");
  if (fast_.has_value()) {
    absl::StrAppend(&text, ExplainKernels(*fast_),
                    " where the cache does not start at a multiple of 16 bytes:\n");
  } else {
    absl::StrAppend(&text, " (the layout's strides are no multiples of 16 bytes)\n");
  }
  absl::StrAppend(&text, ExplainKernels(plain_), "  tiles of ", plan_config().tile_tokens,
                  " query tokens");
  return text;
}

}  // namespace weft::vulkan
