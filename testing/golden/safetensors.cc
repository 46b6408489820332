// SPDX-License-Identifier: Apache-2.0
#include "testing/golden/safetensors.h"

#include <fstream>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checked_math.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "testing/json.h"

namespace weft::testing {
namespace {

constexpr uint64_t kLengthBytes = 8;

template <typename... T>
absl::Status Bad(std::string_view file, const T&... text) {
  return absl::DataLossError(absl::StrCat(file, ": ", text...));
}

// Printable and short, whatever a file holds.
std::string Shown(std::string_view text) {
  constexpr size_t kMaxShown = 80;
  return absl::CEscape(text.substr(0, kMaxShown));
}

// 0: unknown.
int64_t ElementBytes(std::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL" || dtype == "F8_E4M3" ||
      dtype == "F8_E5M2") {
    return 1;
  }
  return 0;
}

// A non-negative integer that fits int64_t.
std::optional<int64_t> Count(const nlohmann::json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return std::nullopt;
  }
  const int64_t count = value.get<int64_t>();
  return count < 0 ? std::nullopt : std::optional<int64_t>(count);
}

absl::StatusOr<SafeTensor> ParseTensor(std::string_view file, const std::string& name,
                                       const nlohmann::json& entry,
                                       absl::Span<const uint8_t> data) {
  const std::string where = absl::StrCat("tensor \"", Shown(name), "\"");
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
      !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
      !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2) {
    return Bad(file, where, " needs dtype, shape and two data_offsets");
  }
  SafeTensor tensor;
  tensor.dtype = entry["dtype"].get<std::string>();
  std::optional<int64_t> bytes = ElementBytes(tensor.dtype);
  if (*bytes == 0) return Bad(file, where, " has unknown dtype \"", Shown(tensor.dtype), "\"");
  for (const nlohmann::json& value : entry["shape"]) {
    const std::optional<int64_t> extent = Count(value);
    if (!extent) return Bad(file, where, " has extent ", Shown(value.dump()));
    tensor.shape.push_back(*extent);
    bytes = CheckedMul(*bytes, *extent);
    if (!bytes) return Bad(file, where, ": its size does not fit 63 bits");
  }
  const std::optional<int64_t> begin = Count(entry["data_offsets"][0]);
  const std::optional<int64_t> end = Count(entry["data_offsets"][1]);
  const auto size = static_cast<int64_t>(data.size());
  if (!begin || !end || *begin > *end || *end > size) {
    return Bad(file, where, " has data_offsets ", Shown(entry["data_offsets"].dump()),
               ", the file has ", size, " bytes of data");
  }
  if (*end - *begin != *bytes) {
    return Bad(file, where, " is ", tensor.dtype, "[", absl::StrJoin(tensor.shape, ", "), "], ",
               *bytes, " bytes, but data_offsets give it ", *end - *begin);
  }
  tensor.data = data.subspan(static_cast<size_t>(*begin), static_cast<size_t>(*bytes));
  return tensor;
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  // Through the stream's own read: its iterators throw where reading fails, of a directory say.
  std::vector<uint8_t> bytes;
  char piece[1 << 14];
  while (file.read(piece, sizeof(piece)) || file.gcount() > 0) {
    bytes.insert(bytes.end(), piece, piece + file.gcount());
  }
  if (file.bad()) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  return bytes;
}

absl::StatusOr<SafeTensorsFile> SafeTensorsFile::Read(const std::string& path) {
  ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, ReadFile(path));
  return Parse(path, std::move(bytes));
}

absl::StatusOr<SafeTensorsFile> SafeTensorsFile::Parse(std::string name,
                                                       std::vector<uint8_t> bytes) {
  SafeTensorsFile file;
  file.name_ = std::move(name);
  file.bytes_ = std::move(bytes);
  if (file.bytes_.size() < kLengthBytes) {
    return Bad(file.name_, "has ", file.bytes_.size(), " bytes, the header length alone takes 8");
  }
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | file.bytes_[i];
  if (length > file.bytes_.size() - kLengthBytes) {
    return Bad(file.name_, "says its header has ", length, " bytes, the file has ",
               file.bytes_.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(file.bytes_.data()) + kLengthBytes,
                              length);
  const absl::StatusOr<nlohmann::json> header = ParseJson(text);
  if (!header.ok()) return Bad(file.name_, "the header is ", header.status().message());
  if (!header->is_object()) return Bad(file.name_, "the header is not a JSON object");
  const absl::Span<const uint8_t> data =
      absl::MakeConstSpan(file.bytes_).subspan(kLengthBytes + length);
  for (const auto& [tensor, entry] : header->items()) {
    if (tensor == "__metadata__") continue;
    ASSIGN_OR_RETURN(file.tensors_[tensor], ParseTensor(file.name_, tensor, entry, data));
  }
  return file;
}

absl::StatusOr<SafeTensor> SafeTensorsFile::Get(std::string_view tensor, std::string_view dtype,
                                                absl::Span<const int64_t> shape) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) return Bad(name_, "has no tensor \"", tensor, "\"");
  const SafeTensor& result = found->second;
  bool fits = result.dtype == dtype && result.shape.size() == shape.size();
  for (size_t axis = 0; fits && axis < shape.size(); ++axis) {
    fits = shape[axis] < 0 || shape[axis] == result.shape[axis];
  }
  if (!fits) {
    return Bad(name_, "tensor \"", tensor, "\" is ", result.dtype, "[",
               absl::StrJoin(result.shape, ", "), "], expected ", dtype, "[",
               absl::StrJoin(shape, ", "), "] (-1: any)");
  }
  return result;
}

}  // namespace weft::testing
