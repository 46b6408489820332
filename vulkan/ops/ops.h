// SPDX-License-Identifier: Apache-2.0
//
// The device operations on Vulkan. Each Record... function records dispatches and returns at once;
// arguments have been checked by core/queue.h.
#ifndef WEFT_VULKAN_OPS_OPS_H_
#define WEFT_VULKAN_OPS_OPS_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_spec.h"
#include "core/device.h"
#include "core/kv_cache.h"
#include "core/prepared_attention.h"
#include "core/queue.h"
#include "vulkan/ops/prepared_attention.h"
#include "vulkan/runtime/device.h"
#include "vulkan/runtime/recorder.h"

namespace weft::vulkan {

// The kernels that belong to no layer. Kernels live as long as the device.
struct OperationKernels {
  // Copies of bytes have a kernel for units of 16 bytes, and one for smaller ones.
  struct Copies {
    const Kernel* whole = nullptr;
    const Kernel* small = nullptr;
  };
  Copies reshape_and_cache;
  Copies gather_rows;
  const Kernel* quantize_to_cache = nullptr;
  const Kernel* quantize_fp8 = nullptr;
  const Kernel* merge_states = nullptr;
  const Kernel* correct_attn_out = nullptr;
  uint32_t threads = 0;  // of a workgroup, of all of them
};

// Slow: compiles.
absl::StatusOr<std::unique_ptr<OperationKernels>> PrepareOperationKernels(Device& device);

// OUT_OF_RANGE: more tokens, blocks or elements of a token than 31 bits count. RESOURCE_EXHAUSTED:
// more segments than a parameter block holds.
absl::Status RecordReshapeAndCache(Recorder& recorder, const OperationKernels& kernels,
                                   const ReshapeAndCacheArgs& args);
absl::Status RecordGatherRows(Recorder& recorder, const OperationKernels& kernels,
                              const GatherRowsArgs& args);
absl::Status RecordQuantizeFp8(Recorder& recorder, const OperationKernels& kernels,
                               const QuantizeFp8Args& args);
absl::Status RecordMergeStates(Recorder& recorder, const OperationKernels& kernels,
                               const MergeStatesArgs& args);
absl::Status RecordCorrectAttnOut(Recorder& recorder, const OperationKernels& kernels,
                                  const CorrectAttnOutArgs& args);
absl::Status RecordAttention(Recorder& recorder, const VulkanPreparedAttention& prepared,
                             const AttentionArgs& args);

// INVALID_ARGUMENT: wrong on every device. UNIMPLEMENTED names the first thing that is not built.
absl::Status SupportsAttention(const Device& device, const AttentionSpec& spec,
                               const KvCacheLayout& layout);
// Slow: compiles. `allocations` are the backend's, and must outlive the result. The errors of
// SupportsAttention.
absl::StatusOr<std::shared_ptr<const PreparedAttention>> PrepareAttention(
    Device& device, DeviceId id, const AddressMap& allocations, const AttentionSpec& spec,
    const KvCacheLayout& layout);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_OPS_H_
