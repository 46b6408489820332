// SPDX-License-Identifier: Apache-2.0
//
// The compiled shaders, by name. Static storage, as KernelCache wants it.
#ifndef WEFT_VULKAN_OPS_MODULES_H_
#define WEFT_VULKAN_OPS_MODULES_H_

#include "vulkan/runtime/kernel.h"

namespace weft::vulkan {

const ShaderModule& AttentionPrefillModule();
const ShaderModule& AttentionDecodeModule();
const ShaderModule& AttentionMergeModule();
const ShaderModule& ReshapeAndCacheModule();
const ShaderModule& GatherRowsModule();
const ShaderModule& CorrectAttnOutModule();
const ShaderModule& MergeStatesModule();
const ShaderModule& QuantizeFp8Module();
const ShaderModule& QuantizeToCacheModule();

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_MODULES_H_
