// SPDX-License-Identifier: Apache-2.0
//
// The reference backend: plain loops on the host's processor, single-threaded, for judging other
// backends and for machines without a device. Registered like any other. Two devices:
//
//   reference:0  "reference (float32)"  accumulates in float, every row in one fixed order
//   reference:1  "reference (float64)"  accumulates in double and rounds once: the oracle
//
// Device memory is host memory and an address is a host pointer. Work runs inside Queue::Submit, on
// the calling thread; Wait never blocks.
#ifndef WEFT_TESTING_REFERENCE_REFERENCE_BACKEND_H_
#define WEFT_TESTING_REFERENCE_REFERENCE_BACKEND_H_

#include "absl/status/status.h"
#include "core/registry.h"

namespace weft {

// ALREADY_EXISTS if the kind is registered. //testing/reference:auto calls it for
// Registry::Default().
absl::Status RegisterReferenceBackend(Registry& registry);

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_REFERENCE_BACKEND_H_
