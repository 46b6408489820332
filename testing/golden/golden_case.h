// SPDX-License-Identifier: Apache-2.0
//
// Golden cases: what the seeds' own kernels answered, with a float64 reference beside each answer.
// A directory of them holds manifest.json (cases[] of name, op, file, args, info) and one
// .safetensors for each case.
//
//   ASSIGN_OR_RETURN(std::vector<GoldenCase> cases, ReadManifest("testing/golden"));
//   for (const GoldenCase& c : cases) absl::Status verdict = JudgeGoldenCase(*backend, c);
#ifndef WEFT_TESTING_GOLDEN_GOLDEN_CASE_H_
#define WEFT_TESTING_GOLDEN_GOLDEN_CASE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "nlohmann/json.hpp"

namespace weft::testing {

struct GoldenCase {
  std::string name;
  std::string op;       // "unified", "reshape", ...
  std::string path;     // of the .safetensors
  nlohmann::json args;  // an object: the scalar arguments of the call
  nlohmann::json info;  // an object: how far the seed's kernel is from the reference
};

// The cases of `directory`/manifest.json, in its order. The files themselves are read when a case
// is judged. NOT_FOUND: no manifest. DATA_LOSS names the manifest, the case and what is wrong with
// it.
absl::StatusOr<std::vector<GoldenCase>> ReadManifest(const std::string& directory);

// The same of the manifest's text; reads no file.
absl::StatusOr<std::vector<GoldenCase>> ParseManifest(std::string_view text,
                                                      const std::string& directory);

// OK if `backend` answers the case within the tolerance of its output's dtype: held to the float64
// reference, and to the kernel's answer with the kernel's own distance on top; caches and packed
// rows to the bit. A "unified" case that has one-row requests with context is judged twice, with
// them as decodes and as prefills. UNIMPLEMENTED names what the backend cannot do,
// FAILED_PRECONDITION is a wrong answer, DATA_LOSS a bad file. Blocks until the device is done.
absl::Status JudgeGoldenCase(Backend& backend, const GoldenCase& golden);

}  // namespace weft::testing

#endif  // WEFT_TESTING_GOLDEN_GOLDEN_CASE_H_
