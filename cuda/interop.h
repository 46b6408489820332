// SPDX-License-Identifier: Apache-2.0
//
// For an engine that has CUDA streams and memory of its own: weft works on them in place.
//
//   ASSIGN_OR_RETURN(auto cache, cuda::AdoptMemory(*backend, pool_address, pool_bytes));
//   ASSIGN_OR_RETURN(auto queue, cuda::AdoptStream(*backend, stream));
//
// A step as a CUDA graph, replayed with other plans (StepLimits::pad, core/step_buffers.h):
//
//   cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
//   RETURN_IF_ERROR(layer.Forward(*queue, *step, io));  // every layer
//   RETURN_IF_ERROR(queue->Submit());
//   cudaStreamEndCapture(stream, &graph);
//   // each step
//   RETURN_IF_ERROR(step->Update(*other, plan));        // a queue whose stream is not captured
//   RETURN_IF_ERROR(other->Submit());                   // ... and is done, or in order, before:
//   cudaGraphLaunch(executable, stream);
//
// Builds without a CUDA toolkit; there every call answers UNAVAILABLE.
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

// A queue over a stream of the backend's device, which must outlive the queue. Submit puts weft's
// work on the stream in order with the caller's. INVALID_ARGUMENT: not a CUDA backend.
//
// While the stream is under capture, Submit makes the recorded operations nodes of the caller's
// graph: no event follows them, and the queue keeps nothing of them, so that the graph may outlive
// it. (The backend, the layer and all memory that was named must outlive the graph.)
// FAILED_PRECONDITION then: Wait, CopyFromHost and CopyToHost; Submit, if such a copy was recorded
// before the capture. Profiling times nothing there. An operation that CUDA refuses to capture
// makes Submit fail, and the capture is to be given up; the queue is good for more.
absl::StatusOr<std::unique_ptr<Queue>> AdoptStream(Backend& backend, cudaStream_t stream);

// Makes a caller's device memory known, so that views of it pass weft's checks. Owns nothing; the
// memory must outlive the result. INVALID_ARGUMENT: not a CUDA backend, not memory of its device,
// no bytes, or an overlap with what is known already. That `bytes` is not more than there is, is
// the caller's to answer for.
absl::StatusOr<std::unique_ptr<Buffer>> AdoptMemory(Backend& backend, uint64_t address,
                                                    int64_t bytes);

}  // namespace weft::cuda

#endif  // WEFT_CUDA_INTEROP_H_
