// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "core/status_macros.h"
#include "vulkan/ops/modules.h"
#include "vulkan/ops/ops.h"

namespace weft::vulkan {
namespace {

absl::StatusOr<OperationKernels::Copies> MakeCopies(Device& device, const ShaderModule& module,
                                                    uint32_t threads) {
  OperationKernels::Copies copies;
  ASSIGN_OR_RETURN(copies.whole, device.kernels().Get({&module, {1, threads}}));
  ASSIGN_OR_RETURN(copies.small, device.kernels().Get({&module, {0, threads}}));
  return copies;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OperationKernels>> PrepareOperationKernels(Device& device) {
  auto kernels = std::make_unique<OperationKernels>();
  const uint32_t threads = device.limits().is_software ? 32 : 128;
  kernels->threads = threads;
  KernelCache& cache = device.kernels();
  ASSIGN_OR_RETURN(kernels->reshape_and_cache,
                   MakeCopies(device, ReshapeAndCacheModule(), threads));
  ASSIGN_OR_RETURN(kernels->gather_rows, MakeCopies(device, GatherRowsModule(), threads));
  ASSIGN_OR_RETURN(kernels->quantize_to_cache, cache.Get({&QuantizeToCacheModule(), {threads}}));
  ASSIGN_OR_RETURN(kernels->quantize_fp8, cache.Get({&QuantizeFp8Module(), {threads}}));
  ASSIGN_OR_RETURN(kernels->merge_states, cache.Get({&MergeStatesModule(), {threads}}));
  ASSIGN_OR_RETURN(kernels->correct_attn_out, cache.Get({&CorrectAttnOutModule(), {threads}}));
  return kernels;
}

}  // namespace weft::vulkan
