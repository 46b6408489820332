// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/trace.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/checked_math.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "testing/json.h"
#include "tools/replay/text.h"

namespace weft::replay {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kAzureHeader = "TIMESTAMP,ContextTokens,GeneratedTokens";

// Where a reader stands, for messages.
struct Place {
  std::string_view file;
  int64_t line = 0;

  absl::Status Error(std::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(absl::CHexEscape(file), ":", line, ": ", what));
  }
  absl::Status Error(std::string_view what, std::string_view value) const {
    return Error(absl::StrCat(what, ": ", Shown(value)));
  }
};

absl::Status CheckLength(const Place& place, std::string_view field, int64_t value) {
  if (value >= 1 && value <= kMaxTraceLength) return absl::OkStatus();
  return place.Error(absl::StrCat(field, " must be from 1 to ", kMaxTraceLength),
                     absl::StrCat(value));
}

// ---- Mooncake -----------------------------------------------------------------------------------

std::string Dump(const Json& value) {
  // Bytes that are no UTF-8 were refused by the parser; `replace` keeps dump from throwing anyway.
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<int64_t> AsInt(const Json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  return std::nullopt;
}

absl::StatusOr<int64_t> IntField(const Place& place, const Json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end()) return place.Error(absl::StrCat("no field \"", field, "\""));
  const std::optional<int64_t> value = AsInt(*found);
  if (!value) return place.Error(absl::StrCat(field, " is not a whole number"), Dump(*found));
  return *value;
}

absl::StatusOr<double> TimestampField(const Place& place, const Json& object) {
  const auto found = object.find("timestamp");
  if (found == object.end()) return place.Error("no field \"timestamp\"");
  if (!found->is_number()) return place.Error("timestamp is not a number", Dump(*found));
  const double value = found->get<double>();
  // 2^53 ms: beyond it a double no longer counts milliseconds.
  if (!(value >= 0 && value <= 0x1p53)) {
    return place.Error("timestamp must be from 0 to 2^53 ms", Dump(*found));
  }
  return value;
}

absl::StatusOr<std::vector<int64_t>> HashIds(const Place& place, const Json& object,
                                             int64_t input_length) {
  const auto found = object.find("hash_ids");
  if (found == object.end()) return place.Error("no field \"hash_ids\"");
  if (!found->is_array()) return place.Error("hash_ids is not an array", Dump(*found));
  const int64_t expected = CeilDiv(input_length, kHashBlockTokens);
  if (static_cast<int64_t>(found->size()) != expected) {
    return place.Error(absl::StrCat("hash_ids has ", found->size(), " ids, but input_length ",
                                    input_length, " needs ", expected),
                       Dump(*found));
  }
  std::vector<int64_t> ids;
  ids.reserve(found->size());
  for (const Json& id : *found) {
    const std::optional<int64_t> value = AsInt(id);
    if (!value || *value < 0) {
      return place.Error(
          absl::StrCat("hash_ids[", ids.size(), "] is not a whole number from 0 to 2^63 - 1"),
          Dump(id));
    }
    ids.push_back(*value);
  }
  return ids;
}

absl::StatusOr<TraceRequest> ParseMooncakeLine(const Place& place, std::string_view line) {
  const absl::StatusOr<Json> parsed = testing::ParseJson(line);
  if (!parsed.ok()) return place.Error(parsed.status().message(), line);
  const Json& object = *parsed;
  if (!object.is_object()) return place.Error("not a JSON object", line);
  TraceRequest request;
  ASSIGN_OR_RETURN(request.arrival_ms, TimestampField(place, object));
  ASSIGN_OR_RETURN(request.input_length, IntField(place, object, "input_length"));
  RETURN_IF_ERROR(CheckLength(place, "input_length", request.input_length));
  ASSIGN_OR_RETURN(request.output_length, IntField(place, object, "output_length"));
  RETURN_IF_ERROR(CheckLength(place, "output_length", request.output_length));
  ASSIGN_OR_RETURN(request.hash_ids, HashIds(place, object, request.input_length));
  return request;
}

// ---- Azure --------------------------------------------------------------------------------------

// Exactly `digits` digits at the front of `text`, which lose them.
std::optional<int64_t> TakeDigits(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int64_t value = 0;
  for (const char c : text.substr(0, digits)) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return value;
}

// Days since 1970-01-01 of a day of the Gregorian calendar; nothing if there is no such day.
std::optional<int64_t> DaysOf(int64_t year, int64_t month, int64_t day) {
  constexpr int64_t kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (month < 1 || month > 12 || day < 1) return std::nullopt;
  if (day > kDays[month - 1] + (leap && month == 2 ? 1 : 0)) return std::nullopt;
  const int64_t before = year - 1;
  int64_t days = 365 * year + before / 4 - before / 100 + before / 400 + day - 1;
  for (int64_t m = 1; m < month; ++m) days += kDays[m - 1] + (leap && m == 2 ? 1 : 0);
  return days - 719527;  // what the above gives for 1970-01-01
}

// "2023-11-16 18:15:46.6805900", fraction and a "+00:00" behind it optional, in milliseconds.
std::optional<double> ParseTimestamp(std::string_view text) {
  text = absl::StripSuffix(text, "+00:00");
  int64_t part[6] = {};
  constexpr size_t kWidth[6] = {4, 2, 2, 2, 2, 2};
  constexpr char kSeparator[6] = {0, '-', '-', ' ', ':', ':'};
  for (int i = 0; i < 6; ++i) {
    if (i > 0) {
      const bool iso = i == 3 && !text.empty() && text.front() == 'T';
      if (text.empty() || (text.front() != kSeparator[i] && !iso)) return std::nullopt;
      text.remove_prefix(1);
    }
    const std::optional<int64_t> value = TakeDigits(text, kWidth[i]);
    if (!value) return std::nullopt;
    part[i] = *value;
  }
  double fraction = 0;
  if (absl::ConsumePrefix(&text, ".")) {
    const size_t digits = text.size();
    if (digits < 1 || digits > 9) return std::nullopt;
    const std::optional<int64_t> value = TakeDigits(text, digits);
    if (!value) return std::nullopt;
    fraction = static_cast<double>(*value) / std::pow(10.0, static_cast<double>(digits));
  }
  const std::optional<int64_t> days = DaysOf(part[0], part[1], part[2]);
  if (!text.empty() || part[0] < 1 || !days || part[3] > 23 || part[4] > 59 || part[5] > 60) {
    return std::nullopt;
  }
  const int64_t seconds = ((*days * 24 + part[3]) * 60 + part[4]) * 60 + part[5];
  return (static_cast<double>(seconds) + fraction) * 1000.0;
}

absl::StatusOr<TraceRequest> ParseAzureLine(const Place& place, std::string_view line) {
  const std::vector<std::string_view> columns = absl::StrSplit(line, ',');
  if (columns.size() != 3) {
    return place.Error(absl::StrCat(columns.size(), " columns instead of 3"), line);
  }
  TraceRequest request;
  const std::optional<double> timestamp = ParseTimestamp(absl::StripAsciiWhitespace(columns[0]));
  if (!timestamp) {
    return place.Error("TIMESTAMP is not like 2023-11-16 18:15:46.6805900", columns[0]);
  }
  request.arrival_ms = *timestamp;
  const auto length = [&](std::string_view name, std::string_view text) -> absl::StatusOr<int64_t> {
    const absl::StatusOr<int64_t> value =
        ParseInt(absl::StripAsciiWhitespace(text), 1, kMaxTraceLength);
    if (value.ok()) return *value;
    return place.Error(absl::StrCat(name, ": ", value.status().message()), text);
  };
  ASSIGN_OR_RETURN(request.input_length, length("ContextTokens", columns[1]));
  ASSIGN_OR_RETURN(request.output_length, length("GeneratedTokens", columns[2]));
  return request;
}

}  // namespace

absl::StatusOr<std::vector<TraceRequest>> ParseTrace(std::string_view text, std::string_view name) {
  enum class Format { kUnknown, kMooncake, kAzure } format = Format::kUnknown;
  Place place{name, 0};
  std::vector<TraceRequest> requests;
  absl::ConsumePrefix(&text, "\xef\xbb\xbf");  // a byte order mark
  for (std::string_view line : absl::StrSplit(text, '\n')) {
    ++place.line;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    if (format == Format::kUnknown) {
      format = line.front() == '{' ? Format::kMooncake : Format::kAzure;
      if (format == Format::kAzure) {
        if (line == kAzureHeader) continue;
        return place.Error(
            absl::StrCat("neither Mooncake JSONL nor an Azure CSV with the header ", kAzureHeader),
            line);
      }
    }
    ASSIGN_OR_RETURN(TraceRequest request, format == Format::kMooncake
                                               ? ParseMooncakeLine(place, line)
                                               : ParseAzureLine(place, line));
    if (!requests.empty() && request.arrival_ms < requests.back().arrival_ms) {
      return place.Error("the arrival is earlier than that of the request before", line);
    }
    requests.push_back(std::move(request));
  }
  if (requests.empty()) return place.Error("the trace has no request");
  const double start = requests.front().arrival_ms;
  for (TraceRequest& request : requests) request.arrival_ms -= start;
  return requests;
}

absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path) {
  const auto cannot = [&](std::string_view why) {
    return absl::NotFoundError(
        absl::StrCat("cannot read the trace ", absl::CHexEscape(path), ": ", why));
  };
  std::error_code error;
  const std::filesystem::file_status file = std::filesystem::status(path, error);
  if (!std::filesystem::exists(file)) return cannot("no such file");
  if (std::filesystem::is_directory(file)) return cannot("it is a directory");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return cannot("it cannot be opened");
  // Through the stream's own read: its iterators throw where reading fails.
  std::string text;
  char piece[1 << 14];
  while (stream.read(piece, sizeof(piece)) || stream.gcount() > 0) {
    text.append(piece, stream.gcount());
  }
  if (stream.bad()) return cannot("reading failed");
  return ParseTrace(text, path);
}

}  // namespace weft::replay
