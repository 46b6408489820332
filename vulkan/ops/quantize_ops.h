// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_VULKAN_OPS_QUANTIZE_OPS_H_
#define WEFT_VULKAN_OPS_QUANTIZE_OPS_H_

#include "absl/status/status.h"
#include "core/queue.h"
#include "vulkan/ops/ops.h"
#include "vulkan/runtime/recorder.h"

namespace weft::vulkan {

// ReshapeAndCache of float rows into an fp8 cache. The errors of RecordReshapeAndCache.
absl::Status RecordQuantizeToCache(Recorder& recorder, const OperationKernels& kernels,
                                   const ReshapeAndCacheArgs& args);

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_QUANTIZE_OPS_H_
