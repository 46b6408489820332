// SPDX-License-Identifier: Apache-2.0
//
// The QuantizeFp8 kernel: destination = source / (scale * head scale), as fp8: the bits of
// core/dtype.h (a NaN may have either sign).
//
// Grid:    x over (row, head, part of the head), a group of 1 to 32 lanes for each (row_groups.h).
// Block:   kGroupThreads. Shared: none.
// Moves:   each element read once, its byte written once.
// Holds:   source and scales are apart from the destination.
#ifndef WEFT_CUDA_KERNELS_QUANTIZE_QUANTIZE_H_
#define WEFT_CUDA_KERNELS_QUANTIZE_QUANTIZE_H_

#include "cuda/kernels/quantize/params.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// Starts the kernel on the current device, as often as the rows need. Allocates nothing, waits for
// nothing.
cudaError_t LaunchQuantizeFp8(const QuantizeFp8Params& params, cudaStream_t stream);

// Loads every instantiation onto the current device, so that no launch does.
// cudaErrorNoKernelImageForDevice: this program holds no code for the device.
cudaError_t LoadQuantizeFp8();

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_QUANTIZE_QUANTIZE_H_
