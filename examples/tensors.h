// SPDX-License-Identifier: Apache-2.0
//
// What the examples share: ending at the first error, and f32 tensors in device memory.
#ifndef WEFT_EXAMPLES_TENSORS_H_
#define WEFT_EXAMPLES_TENSORS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/backend.h"
#include "core/queue.h"
#include "core/tensor_view.h"

namespace weft::examples {

inline void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

template <typename T>
T Check(absl::StatusOr<T> result) {
  Check(result.status());
  return *std::move(result);
}

// Owns the memory of its tensors. Tensors are contiguous and f32.
class Tensors {
 public:
  Tensors(Backend& backend, Queue& queue) : backend_(backend), queue_(queue) {}

  TensorView New(std::vector<int64_t> extents) {
    int64_t bytes = 4;
    for (const int64_t extent : extents) bytes *= extent;
    buffers_.push_back(Check(backend_.Allocate(bytes)));
    return Check(TensorView::Contiguous(buffers_.back()->address(), DType::kF32, extents,
                                        backend_.device()));
  }

  TensorView Upload(const std::vector<float>& values, std::vector<int64_t> extents) {
    const TensorView view = New(std::move(extents));
    Check(queue_.CopyFromHost(
        view.address(),
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values.data()), values.size() * 4)));
    return view;
  }

  // Runs all that was recorded.
  std::vector<float> Download(const TensorView& view) {
    std::vector<float> values(view.num_elements());
    Check(queue_.CopyToHost(
        absl::MakeSpan(reinterpret_cast<uint8_t*>(values.data()), values.size() * 4),
        view.address()));
    Check(queue_.Submit());
    Check(queue_.Wait(absl::Now() + absl::Seconds(60)));
    return values;
  }

 private:
  Backend& backend_;
  Queue& queue_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

// Numbers that look random and are the same everywhere.
inline std::vector<float> Numbers(int64_t count, uint32_t seed) {
  std::vector<float> values;
  uint32_t state = seed * 2654435761u + 1u;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    values.push_back(static_cast<float>(state >> 8) / 8388608.0f - 1.0f);
  }
  return values;
}

// Prints how far two results are apart; the program fails if that is more than `tolerance`.
inline int Compare(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
  float worst = a.size() == b.size() && !a.empty() ? 0.0f : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  const bool good = worst <= tolerance;
  std::cout << "largest difference " << worst << (good ? ": fine" : ": WRONG") << "\n";
  return good ? 0 : 1;
}

}  // namespace weft::examples

#endif  // WEFT_EXAMPLES_TENSORS_H_
