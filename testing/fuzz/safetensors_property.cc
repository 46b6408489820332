// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "nlohmann/json.hpp"
#include "testing/fuzz/properties.h"
#include "testing/golden/safetensors.h"
#include "testing/json.h"

namespace weft::fuzz {
namespace {

using Json = nlohmann::json;
using Bytes = std::vector<uint8_t>;
using Wide = __int128;

constexpr uint8_t kWholeFile = 255;

Bytes File(absl::Span<const uint8_t> bytes) {
  if (bytes.empty()) return {};
  const uint8_t first = bytes.front();
  bytes.remove_prefix(1);
  if (first == kWholeFile) return Bytes(bytes.begin(), bytes.end());
  const size_t header = bytes.size() - std::min<size_t>(first, bytes.size());
  Bytes file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<uint8_t>(uint64_t{header} >> (8 * i)));
  file.insert(file.end(), bytes.begin(), bytes.end());
  return file;
}

// ---- An independent reading ---------------------------------------------------------------------

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  size_t begin = 0;  // in the file
  size_t bytes = 0;
};

std::optional<int64_t> Natural(const Json& value) {
  // A double tells nothing of a number near 2^63.
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (!value.is_number_integer() || value.get<int64_t>() < 0) return std::nullopt;
  return value.get<int64_t>();
}

std::optional<Tensor> ReadTensor(const Json& entry, size_t data_begin, size_t data_size) {
  static const auto& kBytes = *new std::map<std::string, int64_t>{
      {"F64", 8}, {"I64", 8}, {"U64", 8},  {"F32", 4},     {"I32", 4},
      {"U32", 4}, {"F16", 2}, {"BF16", 2}, {"I16", 2},     {"U16", 2},
      {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  if (!entry.is_object()) return std::nullopt;
  const Json dtype = entry.value("dtype", Json());
  const Json shape = entry.value("shape", Json());
  const Json offsets = entry.value("data_offsets", Json());
  if (!dtype.is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2) {
    return std::nullopt;
  }
  Tensor tensor;
  tensor.dtype = dtype.get<std::string>();
  if (kBytes.count(tensor.dtype) == 0) return std::nullopt;
  Wide bytes = kBytes.at(tensor.dtype);
  for (const Json& value : shape) {
    const std::optional<int64_t> extent = Natural(value);
    if (!extent) return std::nullopt;
    tensor.shape.push_back(*extent);
    bytes *= *extent;
    if (bytes > std::numeric_limits<int64_t>::max()) return std::nullopt;
  }
  const std::optional<int64_t> begin = Natural(offsets[0]), end = Natural(offsets[1]);
  if (!begin || !end || *begin > *end || static_cast<uint64_t>(*end) > data_size) {
    return std::nullopt;
  }
  if (*end - *begin != bytes) return std::nullopt;
  tensor.begin = data_begin + *begin;
  tensor.bytes = static_cast<size_t>(bytes);
  return tensor;
}

// Nothing if the file is not a good one.
std::optional<std::map<std::string, Tensor>> ReadTensors(const Bytes& file) {
  if (file.size() < 8) return std::nullopt;
  Wide length = 0;
  for (int i = 7; i >= 0; --i) length = length * 256 + file[i];
  if (length + 8 > static_cast<Wide>(file.size())) return std::nullopt;
  const size_t data_begin = 8 + static_cast<size_t>(length);
  const std::string header(file.begin() + 8, file.begin() + data_begin);
  const absl::StatusOr<Json> parsed = testing::ParseJson(header);
  if (!parsed.ok() || !parsed->is_object()) return std::nullopt;
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, entry] : parsed->items()) {
    if (name == "__metadata__") continue;
    const std::optional<Tensor> tensor = ReadTensor(entry, data_begin, file.size() - data_begin);
    if (!tensor) return std::nullopt;
    tensors[name] = *tensor;
  }
  return tensors;
}

}  // namespace

void SafeTensorsProperty(absl::Span<const uint8_t> bytes) {
  const Bytes file = File(bytes);
  const auto want = ReadTensors(file);
  const absl::StatusOr<testing::SafeTensorsFile> got =
      testing::SafeTensorsFile::Parse("fuzz", file);
  CHECK_EQ(got.ok(), want.has_value()) << got.status();
  if (!got.ok()) {
    CHECK(absl::IsDataLoss(got.status())) << got.status();
    CHECK(absl::StartsWith(got.status().message(), "fuzz: ")) << got.status();
    return;
  }
  for (const auto& [name, tensor] : *want) {
    const auto data = got->Get(name, tensor.dtype, tensor.shape);
    CHECK_OK(data);
    CHECK(absl::MakeConstSpan(file).subspan(tensor.begin, tensor.bytes) == data->data) << name;
    std::vector<int64_t> other_shape = tensor.shape;
    other_shape.push_back(1);
    CHECK(!got->Get(name, tensor.dtype, other_shape).ok());
  }
}

}  // namespace weft::fuzz
