// SPDX-License-Identifier: Apache-2.0
//
// The GatherRows kernel: destination[i] = source[index[i]], rows of bytes; an index outside the
// source fills the row.
//
// Grid:    x over (row, part of the row), a group of 1 to 32 lanes for each (row_groups.h).
// Block:   kGroupThreads. Shared: none.
// Moves:   each row read once and written once, and 8 bytes of index for each part.
// Holds:   source and index are apart from the destination, whose rows are apart from each other.
#ifndef WEFT_CUDA_KERNELS_GATHER_ROWS_GATHER_ROWS_H_
#define WEFT_CUDA_KERNELS_GATHER_ROWS_GATHER_ROWS_H_

#include "cuda/kernels/gather_rows/params.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// Starts the kernel for units of `unit_bytes`, one of kGatherUnitBytes, on the current device, as
// often as the rows need. Allocates nothing, waits for nothing. cudaErrorInvalidValue: no such
// unit.
cudaError_t LaunchGatherRows(const GatherRowsParams& params, int unit_bytes, cudaStream_t stream);

// Loads every instantiation onto the current device, so that no launch does.
// cudaErrorNoKernelImageForDevice: this program holds no code for the device.
cudaError_t LoadGatherRows();

}  // namespace weft::cuda

#endif  // WEFT_CUDA_KERNELS_GATHER_ROWS_GATHER_ROWS_H_
