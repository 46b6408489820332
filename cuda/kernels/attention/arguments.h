// SPDX-License-Identifier: Apache-2.0
//
// From the arguments of Queue::Attention to those of the kernels' launches.
#ifndef WEFT_CUDA_KERNELS_ATTENTION_ARGUMENTS_H_
#define WEFT_CUDA_KERNELS_ATTENTION_ARGUMENTS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_spec.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "cuda/kernels/attention/params.h"

namespace weft::cuda {

// INVALID_ARGUMENT: wrong on every device. UNIMPLEMENTED names the first thing that no kernel does.
absl::Status SupportsAttention(const AttentionSpec& spec, const KvCacheLayout& layout);

// Query tokens of a prefill tile, for blocks of `rows` query rows.
int64_t TileTokens(int64_t group_size, int rows);

// `args` are as Queue::Attention passes them on: checked. RESOURCE_EXHAUSTED: more segments than an
// argument block holds. OUT_OF_RANGE: more blocks of the cache, or of threads, than 31 bits count.
absl::StatusOr<AttentionWork> MapAttention(const AttentionArgs& args);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_ATTENTION_ARGUMENTS_H_
