// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/event_pool.h"

#include "core/status_macros.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/status.h"

namespace weft::cuda {

EventPool::~EventPool() {
  ScopedRelaxedCapture relaxed;
  for (cudaEvent_t event : free_) cudaEventDestroy(event);
}

absl::StatusOr<cudaEvent_t> EventPool::Take() {
  if (free_.empty()) {
    cudaEvent_t event = nullptr;
    RETURN_IF_ERROR(ToStatus(cudaEventCreateWithFlags(&event, flags_), "making an event"));
    return event;
  }
  cudaEvent_t event = free_.back();
  free_.pop_back();
  return event;
}

}  // namespace weft::cuda
