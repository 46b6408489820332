// SPDX-License-Identifier: Apache-2.0
//
// Wrong calls: each must be refused with one clear error before anything is done. The tables of the
// reliability document that concern queues, plans, step buffers and layers.
#ifndef WEFT_TESTING_CONFORMANCE_BAD_INPUT_CHECKS_H_
#define WEFT_TESTING_CONFORMANCE_BAD_INPUT_CHECKS_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/backend.h"

namespace weft::testing {

struct BadInputCheck {
  std::string_view name;
  // OK if every wrong call was refused as it must be and a right one still works afterwards.
  absl::Status (*check)(Backend& backend);
};

const std::vector<BadInputCheck>& BadInputChecks();

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_BAD_INPUT_CHECKS_H_
