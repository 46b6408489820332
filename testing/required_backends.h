// SPDX-License-Identifier: Apache-2.0
//
// Which backends a run of the tests must not go without.
#ifndef WEFT_TESTING_REQUIRED_BACKENDS_H_
#define WEFT_TESTING_REQUIRED_BACKENDS_H_

#include <string_view>

namespace weft::testing {

// Whether a test is to fail, and not to skip itself, where `device` ("vulkan", "vulkan:llvmpipe")
// is absent: the environment's WEFT_REQUIRE_BACKENDS, a list with commas ("reference,vulkan"),
// names it or its kind.
bool BackendIsRequired(std::string_view device);

}  // namespace weft::testing

#endif  // WEFT_TESTING_REQUIRED_BACKENDS_H_
