// SPDX-License-Identifier: Apache-2.0
//
// EventPool: CUDA events that are used again. Making one may synchronise inside the driver, so a
// queue that is warm should make none.
#ifndef WEFT_CUDA_RUNTIME_EVENT_POOL_H_
#define WEFT_CUDA_RUNTIME_EVENT_POOL_H_

#include <vector>

#include "absl/status/statusor.h"
#include "cuda_runtime_api.h"

namespace weft::cuda {

// Not thread-safe.
class EventPool {
 public:
  // `flags` of cudaEventCreateWithFlags.
  explicit EventPool(unsigned flags) : flags_(flags) {}
  // Destroys the events that are back.
  ~EventPool();
  EventPool(const EventPool&) = delete;
  EventPool& operator=(const EventPool&) = delete;

  // An event of the current device.
  absl::StatusOr<cudaEvent_t> Take();
  void Return(cudaEvent_t event) { free_.push_back(event); }

 private:
  unsigned flags_;
  std::vector<cudaEvent_t> free_;
};

}  // namespace weft::cuda

#endif  // WEFT_CUDA_RUNTIME_EVENT_POOL_H_
