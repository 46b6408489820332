// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <optional>
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
#include "testing/fuzz/fuzz_input.h"
#include "testing/fuzz/properties.h"
#include "tools/replay/trace.h"

namespace weft::fuzz {
namespace {

using replay::kHashBlockTokens;
using replay::kMaxTraceLength;
using replay::ParseTrace;
using replay::TraceRequest;

// One request of Mooncake's format, any numbers.
struct Line {
  int64_t timestamp = 0, input = 0, output = 0;
  std::vector<int64_t> ids;
};
using Lines = std::vector<Line>;

Lines ReadLines(FuzzInput& input) {
  Lines lines(input.Below(6));
  int64_t last = 0;
  for (Line& line : lines) {
    const int64_t step = input.Integer();
    const bool later = step >= 0 && step < 1000 && last >= 0 && last < int64_t{1} << 53;
    line.timestamp = later ? last + step : step;
    last = line.timestamp;
    line.input = input.Integer();
    line.output = input.Integer();
    constexpr int64_t kMostIds = 8;
    const int64_t needed = line.input < 1 ? 0 : (line.input - 1) / kHashBlockTokens + 1;
    const uint8_t other = input.Byte();
    line.ids.resize(other < 200 ? std::min(needed, kMostIds) : other % kMostIds);
    for (int64_t& id : line.ids) id = input.Integer();
  }
  return lines;
}

std::string Text(const Lines& lines) {
  std::string text;
  for (const Line& line : lines) {
    absl::StrAppend(&text, "{\"timestamp\": ", line.timestamp, ", \"input_length\": ", line.input,
                    ", \"output_length\": ", line.output, ", \"hash_ids\": [",
                    absl::StrJoin(line.ids, ", "), "]}\n");
  }
  return text;
}

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

// What a trace must be held to, line by line.
bool IsLegal(const Lines& lines) {
  int64_t last = 0;
  for (const Line& line : lines) {
    if (line.timestamp < last || line.timestamp > int64_t{1} << 53) return false;
    last = line.timestamp;
    if (line.input < 1 || line.input > kMaxTraceLength) return false;
    if (line.output < 1 || line.output > kMaxTraceLength) return false;
    const int64_t ids = (line.input + kHashBlockTokens - 1) / kHashBlockTokens;
    if (static_cast<int64_t>(line.ids.size()) != ids) return false;
    for (int64_t id : line.ids) {
      if (id < 0) return false;
    }
  }
  return !lines.empty();
}

void CheckSame(const std::vector<TraceRequest>& a,
               const absl::StatusOr<std::vector<TraceRequest>>& b) {
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
  std::string text(bytes.begin(), bytes.end());
  std::optional<bool> legal;
  if (!bytes.empty() && bytes.front() == 0) {  // no file begins so: numbers, and a known verdict
    FuzzInput input(bytes.subspan(1));
    const Lines lines = ReadLines(input);
    text = Text(lines);
    legal = IsLegal(lines);
  }
  const absl::StatusOr<std::vector<TraceRequest>> trace = ParseTrace(text, "fuzz");
  if (legal) CHECK_EQ(trace.ok(), *legal) << trace.status();
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
