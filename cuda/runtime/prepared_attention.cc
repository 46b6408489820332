// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/prepared_attention.h"

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "cuda/kernels/attention/arguments.h"

namespace weft::cuda {
namespace {

PlanConfig ConfigFor(const AttentionSpec& spec, const AttentionKernels& kernels) {
  PlanConfig config;
  config.tile_tokens = TileTokens(spec.group_size(), kernels.prefill.rows);
  const int64_t blocks_of_tile =
      spec.num_kv_heads * CeilDiv(config.tile_tokens * spec.group_size(), kernels.prefill.rows);
  const int64_t blocks_at_once =
      int64_t{kernels.decode_device.multiprocessors} * kernels.prefill_blocks_at_once;
  config.tiles_at_once = CeilDiv(blocks_at_once, blocks_of_tile);
  return config;
}

std::string Describe(const AttentionKernel& kernel) {
  return absl::StrCat(kernel.threads, " threads, ", kernel.shared_bytes,
                      " bytes of shared memory (", kernel.stages, " stages) for ", kernel.rows,
                      " rows");
}

// A decode's block has as many warps as a launch's batch wants.
std::string DescribeDecode(const AttentionKernels& kernels) {
  if (kernels.plain) return Describe(kernels.decode);
  return absl::StrCat(kernels.decode_device.min_warps, " to ", kernels.decode_device.max_warps,
                      " warps, each with ", kernels.decode.stages * kernels.decode.stage_bytes,
                      " bytes of shared memory (", kernels.decode.stages, " stages), for ",
                      kernels.decode.rows, " heads");
}

}  // namespace

CudaPreparedAttention::CudaPreparedAttention(const AttentionSpec& spec, const KvCacheLayout& layout,
                                             DeviceId id, const AddressMap* allocations,
                                             const AttentionKernels& kernels)
    : PreparedAttention(spec, layout, id, ConfigFor(spec, kernels), allocations),
      kernels_(kernels) {}

std::string CudaPreparedAttention::Explain() const {
  return absl::StrCat("cuda, ", kernels_.plain ? "f32 arithmetic" : "mma.sync", ": ",
                      spec().ToString(), "\n  prefill: ", Describe(kernels_.prefill), "; tiles of ",
                      plan_config().tile_tokens,
                      " query tokens\n  decode: ", DescribeDecode(kernels_));
}

}  // namespace weft::cuda
