// SPDX-License-Identifier: Apache-2.0
#include "testing/conformance/state_data.h"

#include <limits>

#include "core/status_macros.h"
#include "testing/device_io.h"

namespace weft::testing {

std::vector<uint8_t> StateValues(DType dtype, int64_t rows, int64_t heads, int64_t d, bool nan,
                                 RandomStream& random) {
  const int64_t count = rows * heads * d;
  std::vector<uint8_t> values(static_cast<size_t>(count * SizeOf(dtype)));
  for (int64_t i = 0; i < count; ++i) {
    const bool bad = nan && i == count - d / 2 - 1;
    const float value = 2.0f * random.Symmetric();
    StoreFloat(dtype, values.data(), i, bad ? std::numeric_limits<float>::quiet_NaN() : value);
  }
  return values;
}

absl::StatusOr<TensorView> UploadFloats(Backend& backend, Queue& queue,
                                        const std::vector<float>& values, Place place,
                                        std::unique_ptr<PlacedMemory>& memory) {
  if (values.empty()) return TensorView();
  ASSIGN_OR_RETURN(memory, PlacedMemory::Create(backend, queue, AsBytes(values), place));
  return TensorView::Contiguous(memory->address(), DType::kF32,
                                {static_cast<int64_t>(values.size())}, backend.device());
}

std::vector<float> StateSinks(bool given, int64_t heads) {
  constexpr float kSinks[] = {1.5f, -3.0f, -std::numeric_limits<float>::infinity(), 7.0f, 90.0f};
  std::vector<float> sinks;
  for (int64_t head = 0; head < heads && given; ++head) sinks.push_back(kSinks[head % 5]);
  return sinks;
}

void SetRows(StridedImage& image, const std::vector<uint8_t>& dense) {
  const int64_t bytes = image.row_bytes();
  for (int64_t row = 0; row < image.rows(); ++row) {
    image.SetRow(row, absl::MakeConstSpan(dense).subspan(static_cast<size_t>(row * bytes),
                                                         static_cast<size_t>(bytes)));
  }
}

}  // namespace weft::testing
