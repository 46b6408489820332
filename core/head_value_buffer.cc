// SPDX-License-Identifier: Apache-2.0
#include "core/head_value_buffer.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/queue.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr absl::Duration kUploadDeadline = absl::Seconds(60);

}  // namespace

absl::StatusOr<std::shared_ptr<const HeadValueBuffer>> HeadValueBuffer::Create(
    Backend& backend, const AttentionSpec& spec) {
  auto result = std::shared_ptr<HeadValueBuffer>(new HeadValueBuffer);
  HeadValues& values = result->values_;
  const std::pair<std::vector<float>, TensorView*> arrays[] = {
      {spec.alibi_slopes, &values.alibi_slopes},
      {spec.sinks, &values.sinks},
      {ScalesPerHead(spec.k_scales, spec), &values.k_scales},
      {ScalesPerHead(spec.v_scales, spec), &values.v_scales}};
  // Each array starts at a multiple of 16 bytes, for kernels that load pieces of that size.
  constexpr size_t kAlignedFloats = 4;
  std::vector<float> all;
  for (const auto& [array, view] : arrays) {
    all.insert(all.end(), array.begin(), array.end());
    all.resize((all.size() + kAlignedFloats - 1) / kAlignedFloats * kAlignedFloats);
  }
  if (all.empty()) return result;

  const int64_t bytes = static_cast<int64_t>(all.size() * sizeof(float));
  ASSIGN_OR_RETURN(result->buffer_, backend.Allocate(bytes));
  uint64_t address = result->buffer_->address();
  for (const auto& [array, view] : arrays) {
    if (array.empty()) continue;
    ASSIGN_OR_RETURN(
        *view, TensorView::Contiguous(address, DType::kF32, {static_cast<int64_t>(array.size())},
                                      backend.device()));
    address +=
        (array.size() + kAlignedFloats - 1) / kAlignedFloats * kAlignedFloats * sizeof(float);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue, backend.CreateQueue());
  RETURN_IF_ERROR(queue->CopyFromHost(
      result->buffer_->address(),
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(all.data()), bytes)));
  RETURN_IF_ERROR(queue->Submit());
  RETURN_IF_ERROR(queue->Wait(absl::Now() + kUploadDeadline));
  return result;
}

}  // namespace weft
