// SPDX-License-Identifier: Apache-2.0
//
// The ReshapeAndCache kernels: rows of keys and values go to the places in a paged cache that their
// slots name (seed 002, triton_reshape_and_cache_flash), copied, or into an fp8 cache as x / scale:
// the bits of core/dtype.h (a NaN may have either sign).
//
// Grid:    x = ceil(num_tokens / tokens_per_block); ChooseReshapeAndCacheShape.
// Block:   (threads_x, threads_y), 256 threads: x over the units of a row, y over tokens.
// Shared:  16 bytes for each thread: the destinations of the block's tokens, resolved once for each
//          token because of their 64-bit divisions.
// Moves:   for each written token its key and value once read and once written, for every token 8
//          bytes of slots; nothing else.
// Holds:   A block writes the rows of its own tokens only, so blocks need no order, unless two
//          tokens name the same slot: then either may win. A slot outside the launch's blocks (-1
//          as well) writes nothing and its row is not read.
#ifndef WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_RESHAPE_AND_CACHE_H_
#define WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_RESHAPE_AND_CACHE_H_

#include "cuda/kernels/reshape_and_cache/config.h"
#include "cuda/kernels/reshape_and_cache/params.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// Starts the kernel for units of `unit_bytes`, one of kReshapeUnitBytes, on the current device.
// Allocates nothing, waits for nothing. cudaErrorInvalidValue: no such unit.
cudaError_t LaunchReshapeAndCache(const ReshapeAndCacheParams& params, int unit_bytes,
                                  const ReshapeAndCacheShape& shape, cudaStream_t stream);

// The same for an fp8 cache, with params.source_type and cache_type. `whole`: a unit is 16 bytes of
// the source; otherwise one element.
cudaError_t LaunchQuantizeToCache(const ReshapeAndCacheParams& params, bool whole,
                                  const ReshapeAndCacheShape& shape, cudaStream_t stream);

// Loads every instantiation of both onto the current device, so that no launch does.
// cudaErrorNoKernelImageForDevice: this program holds no code for the device.
cudaError_t LoadReshapeAndCache();

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_RESHAPE_AND_CACHE_RESHAPE_AND_CACHE_H_
