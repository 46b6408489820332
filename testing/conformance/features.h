// SPDX-License-Identifier: Apache-2.0
//
// The features of README.md's support table, each with case lines that have it. A backend's "yes"
// is what Backend::Supports answers for the spec and layout of those lines; and they are run.
#ifndef WEFT_TESTING_CONFORMANCE_FEATURES_H_
#define WEFT_TESTING_CONFORMANCE_FEATURES_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"

namespace weft::testing {

struct Feature {
  std::string_view name;
  // Parts of the feature; of each, words that a line of CaseLines() must all have.
  std::vector<std::string_view> parts;
};
const std::vector<Feature>& Features();

// The first of CaseLines() with all these words. NOT_FOUND names them.
absl::StatusOr<std::string> LineWith(std::string_view words);

enum class Support { kYes, kPartly, kNo };
std::string_view Name(Support support);  // "yes", "in part", "not yet"

// What the backend says: of attention by Supports, of other operations by running the line.
absl::StatusOr<Support> SupportOf(Backend& backend, const Feature& feature);

// Runs a case of each part.
absl::Status CheckFeature(Backend& backend, const Feature& feature);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_FEATURES_H_
