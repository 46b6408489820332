// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/trace.h"

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "testing/fuzz/properties.h"

namespace weft::fuzz {
namespace {

using replay::kHashBlockTokens;
using replay::kMaxTraceLength;
using replay::ParseTrace;
using replay::TraceRequest;

void CheckMessage(const absl::Status& status) {
  constexpr size_t kLongest = 400;
  const std::string_view message = status.message();
  CHECK(absl::IsInvalidArgument(status)) << status;
  CHECK(absl::StartsWith(message, "fuzz:")) << message;
  CHECK_LE(message.size(), kLongest);
  for (const char c : message) {
    CHECK(absl::ascii_isprint(static_cast<unsigned char>(c))) << "byte " << static_cast<int>(c);
  }
}

void CheckTrace(const std::vector<TraceRequest>& trace) {
  CHECK(!trace.empty());
  CHECK_EQ(trace.front().arrival_ms, 0);
  double last = 0;
  for (const TraceRequest& request : trace) {
    CHECK(std::isfinite(request.arrival_ms) && request.arrival_ms >= last);
    last = request.arrival_ms;
    CHECK(request.input_length >= 1 && request.input_length <= kMaxTraceLength);
    CHECK(request.output_length >= 1 && request.output_length <= kMaxTraceLength);
    if (request.hash_ids.empty()) continue;
    CHECK_EQ(static_cast<int64_t>(request.hash_ids.size()),
             (request.input_length + kHashBlockTokens - 1) / kHashBlockTokens);
    for (int64_t id : request.hash_ids) CHECK_GE(id, 0);
  }
}

// Written again as Mooncake's format writes it.
std::string Written(const std::vector<TraceRequest>& trace) {
  std::string text;
  for (const TraceRequest& request : trace) {
    absl::StrAppendFormat(
        &text,
        "{\"timestamp\": %.17g, \"input_length\": %d, \"output_length\": %d, \"hash_ids\": [%s]}\n",
        request.arrival_ms, request.input_length, request.output_length,
        absl::StrJoin(request.hash_ids, ", "));
  }
  return text;
}

void CheckSame(const std::vector<TraceRequest>& a, const absl::StatusOr<std::vector<TraceRequest>>& b) {
  CHECK_OK(b);
  CHECK_EQ(a.size(), b->size());
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK_EQ(a[i].arrival_ms, (*b)[i].arrival_ms);
    CHECK_EQ(a[i].input_length, (*b)[i].input_length);
    CHECK_EQ(a[i].output_length, (*b)[i].output_length);
    CHECK(a[i].hash_ids == (*b)[i].hash_ids);
  }
}

}  // namespace

void TraceProperty(absl::Span<const uint8_t> bytes) {
  const std::string text(bytes.begin(), bytes.end());
  const absl::StatusOr<std::vector<TraceRequest>> trace = ParseTrace(text, "fuzz");
  // Windows line ends change nothing, not even the message.
  const auto crlf = ParseTrace(absl::StrReplaceAll(text, {{"\n", "\r\n"}}), "fuzz");
  CHECK_EQ(trace.status(), crlf.status());
  if (!trace.ok()) {
    CheckMessage(trace.status());
    return;
  }
  CheckTrace(*trace);
  CheckSame(*trace, crlf);
  // Azure's requests have no ids, which Mooncake's format cannot say.
  if (!trace->front().hash_ids.empty()) CheckSame(*trace, ParseTrace(Written(*trace), "again"));
}

}  // namespace weft::fuzz
