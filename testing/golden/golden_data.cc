// SPDX-License-Identifier: Apache-2.0
#include "testing/golden/golden_data.h"

#include <cmath>

#include "core/status_macros.h"
#include "testing/device_io.h"

namespace weft::testing {

std::string_view SafeTensorsName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
    case DType::kF8E4M3:
      return "F8_E4M3";
    case DType::kF8E5M2:
      return "F8_E5M2";
    case DType::kU8:
      return "U8";
  }
  return "?";
}

absl::StatusOr<HostTensor> ReadReference(const SafeTensorsFile& file, std::string_view name,
                                         DType dtype, const std::vector<int64_t>& shape) {
  HostTensor result = {dtype, shape, {}};
  if (absl::StatusOr<SafeTensor> wide = file.Get(name, "F64", shape); wide.ok()) {
    result.values = Values<double>(*wide);
    return result;
  }
  ASSIGN_OR_RETURN(const SafeTensor narrow, file.Get(name, "F32", shape));
  const std::vector<float> values = Values<float>(narrow);
  result.values.assign(values.begin(), values.end());
  return result;
}

Tolerance WithKernelDistance(Tolerance tolerance, const GoldenCase& golden,
                             absl::Span<const char* const> path) {
  static const nlohmann::json kNothing;
  const auto field = [](const nlohmann::json& object, const char* name) -> const nlohmann::json& {
    const auto found = object.find(name);  // of what is no object: end()
    return found == object.end() ? kNothing : *found;
  };
  const nlohmann::json* distance = &golden.info;
  for (const char* name : path) distance = &field(*distance, name);
  const auto number = [&](const char* name) {
    const nlohmann::json& value = field(*distance, name);
    return value.is_number() ? value.get<double>() : 0.0;
  };
  tolerance.relative_frobenius += number("rel_l2");
  tolerance.atol += number("max_abs");
  return tolerance;
}

absl::StatusOr<DeviceTensor> UploadTensor(Backend& backend, Queue& queue, DType dtype,
                                          absl::Span<const int64_t> shape,
                                          absl::Span<const uint8_t> bytes) {
  DeviceTensor tensor;
  ASSIGN_OR_RETURN(tensor.buffer, Upload(backend, queue, bytes));
  ASSIGN_OR_RETURN(tensor.view, TensorView::Contiguous(tensor.buffer->address(), dtype, shape,
                                                       backend.device()));
  return tensor;
}

absl::StatusOr<DeviceTensor> NewTensor(Backend& backend, Queue& queue, DType dtype,
                                       absl::Span<const int64_t> shape) {
  int64_t bytes = SizeOf(dtype);
  for (int64_t extent : shape) bytes *= extent;
  return UploadTensor(backend, queue, dtype, shape, PoisonBytes(bytes));
}

absl::StatusOr<std::vector<uint8_t>> DownloadBytes(Queue& queue, const DeviceTensor& tensor) {
  return Download(queue, tensor.view.address(),
                  tensor.view.num_elements() * SizeOf(tensor.view.dtype()));
}

absl::StatusOr<HostTensor> DownloadTensor(Queue& queue, const DeviceTensor& tensor) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, DownloadBytes(queue, tensor));
  std::vector<int64_t> extents;
  for (int axis = 0; axis < tensor.view.rank(); ++axis) extents.push_back(tensor.view.extent(axis));
  return DecodeTensor(tensor.view.dtype(), extents, bytes);
}

absl::Status CompareMergedLse(const HostTensor& actual, const HostTensor& expected,
                              const CompareContext& context) {
  std::vector<double> size;
  for (double value : expected.values) size.push_back(std::isfinite(value) ? std::abs(value) : 1.0);
  return CompareLse(actual, expected, size, context);
}

}  // namespace weft::testing
