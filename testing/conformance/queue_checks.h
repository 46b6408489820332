// SPDX-License-Identifier: Apache-2.0
//
// Copies, fills and the queue's promises: order, and that nothing runs before Submit.
#ifndef WEFT_TESTING_CONFORMANCE_QUEUE_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_QUEUE_CHECKS_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/backend.h"

namespace weft::testing {

struct QueueCheck {
  std::string_view name;
  absl::Status (*check)(Backend& backend);
};

const std::vector<QueueCheck>& QueueChecks();

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_QUEUE_CHECKS_H_
