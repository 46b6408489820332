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
// What it holds: one-line cases of every operation against float64 or to the bit, among them an
// array in which every pair of attention's features meets (pairwise.h); properties (two ways of
// running a case that must agree: attention_checks.h); laws and tables of operations
// (operation_checks.h); the promises of queues; bad input, refused by name; the golden cases. With
// poison in all memory that nobody may use, pages that fault beside tensors, and pools whose base
// lies 2^33 bytes away. fault_test shows that each of them can fail (docs/faults.md).
//
// A backend whose Create answers UNAVAILABLE is skipped, with the reason; so is a case that answers
// UNIMPLEMENTED. Neither is for backends that WEFT_REQUIRE_BACKENDS names ("vulkan,cuda"): there
// both fail. Any other error is a failure. A check that has no meaning on a device (guard pages,
// where the host cannot touch its memory) says so and is skipped everywhere.
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
