// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite: what every backend must do, over (backend, case). It is compiled once,
// into a library; a backend's share is one small file that is linked with it and says how to make
// it:
//
//   // vulkan/vulkan_conformance_test.cc
//   #include "testing/conformance/suite.h"
//   #include "vulkan/vulkan_backend.h"
//
//   namespace weft::testing {
//   namespace {
//   const bool kRegistered = RegisterConformanceBackend("vulkan", RegisterVulkanBackend);
//   }  // namespace
//   }  // namespace weft::testing
//
//   cc_test(
//       name = "vulkan_conformance_test",
//       srcs = ["vulkan_conformance_test.cc"],
//       data = ["//testing/golden:files"],
//       deps = [":vulkan", "//testing/conformance:suite"],  # the suite brings main()
//   )
//
// A backend whose Create answers UNAVAILABLE is skipped, with the reason; so is a case that answers
// UNIMPLEMENTED. Neither is for backends that WEFT_REQUIRE_BACKENDS names ("vulkan,cuda"): there
// both fail. Any other error is a failure.
//
// A failure ends in the line of its case: WEFT_CASE="attention dtype=..." with
// --gtest_filter=*Pasted* runs that line alone.
#ifndef WEFT_TESTING_CONFORMANCE_SUITE_H_
#define WEFT_TESTING_CONFORMANCE_SUITE_H_

#include <string>

#include "absl/status/status.h"
#include "core/registry.h"

namespace weft::testing {

// `device` is what Registry::Create takes ("vulkan", "vulkan:1", "reference:1"). To be called
// before main, from the initialiser of a variable. Returns true.
bool RegisterConformanceBackend(const std::string& device,
                                absl::Status (*register_backend)(Registry&));

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_SUITE_H_
