// SPDX-License-Identifier: Apache-2.0
//
// The reference backend's queue: records closures, runs them in Submit.
#ifndef WEFT_TESTING_REFERENCE_REFERENCE_QUEUE_H_
#define WEFT_TESTING_REFERENCE_REFERENCE_QUEUE_H_

#include <memory>

#include "core/backend.h"
#include "core/queue.h"
#include "testing/reference/precision.h"

namespace weft {

// Keeps `backend` alive.
std::unique_ptr<Queue> CreateReferenceQueue(std::shared_ptr<Backend> backend, Precision precision);

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_REFERENCE_QUEUE_H_
