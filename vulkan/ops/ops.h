// SPDX-License-Identifier: Apache-2.0
//
// The device operations on Vulkan. Each Record... function records dispatches and returns at once;
// arguments have been checked by core/queue.h.
#ifndef WEFT_VULKAN_OPS_OPS_H_
#define WEFT_VULKAN_OPS_OPS_H_

#include <array>
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

// The kernels that know no element types, one for each unit that they copy in.
class CopyKernels {
 public:
  static constexpr std::array<uint32_t, 3> kUnits = {16, 4, 2};  // bytes

  struct Pair {
    const Kernel* reshape_and_cache = nullptr;
    const Kernel* gather_rows = nullptr;
  };

  CopyKernels(std::array<Pair, 3> by_unit, uint32_t threads)
      : by_unit_(by_unit), threads_(threads) {}

  // The kernels of the largest unit that divides `bits`, an `or` of all addresses, strides and
  // sizes in bytes; even, since no element is smaller than 2 bytes.
  struct Choice {
    Pair kernels;
    uint32_t unit = 0;
  };
  Choice Choose(uint64_t bits) const;

  uint32_t threads() const { return threads_; }  // of a workgroup

 private:
  std::array<Pair, 3> by_unit_;
  uint32_t threads_;
};

// Slow: compiles. Kernels live as long as the device.
absl::StatusOr<std::unique_ptr<CopyKernels>> PrepareCopyKernels(Device& device);

// OUT_OF_RANGE: more tokens, blocks or elements of a token than 31 bits count. RESOURCE_EXHAUSTED:
// more segments than a parameter block holds.
absl::Status RecordReshapeAndCache(Recorder& recorder, const CopyKernels& kernels,
                                   const ReshapeAndCacheArgs& args);
absl::Status RecordGatherRows(Recorder& recorder, const CopyKernels& kernels,
                              const GatherRowsArgs& args);
// Besides, INVALID_ARGUMENT: the layout's strides are all multiples of 16 bytes, a segment's base
// is not.
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
