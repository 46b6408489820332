// SPDX-License-Identifier: Apache-2.0
//
// What all judges of golden cases need: tensors of a file as values and on a device, and the two
// comparisons of an answer.
#ifndef WEFT_TESTING_GOLDEN_GOLDEN_DATA_H_
#define WEFT_TESTING_GOLDEN_GOLDEN_DATA_H_

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "testing/compare.h"
#include "testing/golden/golden_case.h"
#include "testing/golden/safetensors.h"

namespace weft::testing {

// "BF16", "F8_E4M3": a dtype as a .safetensors file names it.
std::string_view SafeTensorsName(DType dtype);

template <typename T>
std::vector<T> Values(const SafeTensor& tensor) {
  std::vector<T> values(tensor.data.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

// A tensor of float64 or float32 values that stand for results of `dtype`.
absl::StatusOr<HostTensor> ReadReference(const SafeTensorsFile& file, std::string_view name,
                                         DType dtype, const std::vector<int64_t>& shape);

// `tolerance` with the distance of the seed's kernel on top: the numbers rel_l2 and max_abs of the
// object at `path` in the case's info, if it is there.
Tolerance WithKernelDistance(Tolerance tolerance, const GoldenCase& golden,
                             absl::Span<const char* const> path);

// A tensor on a device, row-major without gaps.
struct DeviceTensor {
  std::unique_ptr<Buffer> buffer;
  TensorView view;
};

absl::StatusOr<DeviceTensor> UploadTensor(Backend& backend, Queue& queue, DType dtype,
                                          absl::Span<const int64_t> shape,
                                          absl::Span<const uint8_t> bytes);
// For a result: full of poison.
absl::StatusOr<DeviceTensor> NewTensor(Backend& backend, Queue& queue, DType dtype,
                                       absl::Span<const int64_t> shape);
// Runs all that was recorded.
absl::StatusOr<std::vector<uint8_t>> DownloadBytes(Queue& queue, const DeviceTensor& tensor);
absl::StatusOr<HostTensor> DownloadTensor(Queue& queue, const DeviceTensor& tensor);

// LSEs of any shape against a float64 answer: the bound of CompareLse for logits no larger than the
// answer itself.
absl::Status CompareMergedLse(const HostTensor& actual, const HostTensor& expected,
                              const CompareContext& context);

}  // namespace weft::testing

#endif  // WEFT_TESTING_GOLDEN_GOLDEN_DATA_H_
