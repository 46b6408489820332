// SPDX-License-Identifier: Apache-2.0
//
// For an engine that has CUDA streams and memory of its own: weft works on them in place.
//
//   ASSIGN_OR_RETURN(auto cache, cuda::AdoptMemory(*backend, pool_address, pool_bytes));
//   ASSIGN_OR_RETURN(auto queue, cuda::AdoptStream(*backend, stream));
//
// Begun: events and streams under capture come later. Builds without a CUDA toolkit; there every
// call answers UNAVAILABLE.
#ifndef WEFT_CUDA_INTEROP_H_
#define WEFT_CUDA_INTEROP_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/queue.h"

// As cuda_runtime_api.h declares it.
typedef struct CUstream_st* cudaStream_t;

namespace weft::cuda {

// A queue over a stream of the backend's device, which must outlive the queue and must not be under
// capture when the queue submits. Submit puts weft's work on the stream in order with the caller's.
// INVALID_ARGUMENT: not a CUDA backend.
absl::StatusOr<std::unique_ptr<Queue>> AdoptStream(Backend& backend, cudaStream_t stream);

// Makes a caller's device memory known, so that views of it pass weft's checks. Owns nothing; the
// memory must outlive the result. INVALID_ARGUMENT: not a CUDA backend, not memory of its device,
// no bytes, or an overlap with what is known already. That `bytes` is not more than there is, is
// the caller's to answer for.
absl::StatusOr<std::unique_ptr<Buffer>> AdoptMemory(Backend& backend, uint64_t address,
                                                    int64_t bytes);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_INTEROP_H_
