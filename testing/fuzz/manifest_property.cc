// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "testing/fuzz/properties.h"
#include "testing/golden/golden_case.h"

namespace weft::fuzz {

void ManifestProperty(absl::Span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const absl::StatusOr<std::vector<testing::GoldenCase>> cases =
      testing::ParseManifest(text, "directory");
  if (!cases.ok()) {
    CHECK(absl::IsDataLoss(cases.status())) << cases.status();
    CHECK(absl::StartsWith(cases.status().message(), "directory/manifest.json: "))
        << cases.status();
    for (const char c : cases.status().message()) {
      CHECK(absl::ascii_isprint(static_cast<unsigned char>(c))) << "byte " << static_cast<int>(c);
    }
    return;
  }
  std::set<std::string> names;
  for (const testing::GoldenCase& golden : *cases) {
    CHECK(!golden.name.empty() && !golden.op.empty());
    CHECK(names.insert(golden.name).second) << golden.name;
    // No manifest leads out of its directory.
    std::string_view file = golden.path;
    CHECK(absl::ConsumePrefix(&file, "directory/")) << golden.path;
    CHECK(!file.empty() && file != "." && file != ".." && !absl::StrContains(file, '/'));
    CHECK(!absl::StrContains(file, '\0'));
    CHECK(golden.args.is_object() && golden.info.is_object());
  }
}

}  // namespace weft::fuzz
