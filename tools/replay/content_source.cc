// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/content_source.h"

#include <cstddef>
#include <limits>
#include <vector>

#include "core/status_macros.h"

namespace weft::replay {

absl::StatusOr<ContentSource> ContentSource::Create(Backend& backend, Queue& queue,
                                                    const Content& content, DType dtype,
                                                    int64_t head_size, int64_t num_layers) {
  ContentSource source;
  source.device_ = backend.device();
  source.dtype_ = dtype;
  source.head_size_ = head_size;
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    const std::vector<uint8_t> table = content.TableBytes(layer);
    if (layer == 0) {
      ASSIGN_OR_RETURN(source.tables_,
                       backend.Allocate(static_cast<int64_t>(table.size()) * num_layers));
    }
    RETURN_IF_ERROR(queue.CopyFromHost(source.tables_->address() + layer * table.size(), table));
  }
  return source;
}

absl::Status ContentSource::Make(Queue& queue, int64_t layer, int64_t width,
                                 const TensorView& index, const TensorView& destination) const {
  const int64_t row = 2 * head_size_;
  const uint64_t table = tables_->address() + layer * kTableRows * row * SizeOf(dtype_);
  GatherRowsArgs args;
  ASSIGN_OR_RETURN(args.source,
                   TensorView::Create(table, dtype_, {kTableRows, width}, {row, 1}, device_));
  args.index = index;
  args.destination = destination;
  args.fill = std::numeric_limits<float>::quiet_NaN();
  return queue.GatherRows(args);
}

absl::Status ContentSource::MakeKeysAndValues(Queue& queue, int64_t layer, const TensorView& index,
                                              const TensorView& destination) const {
  return Make(queue, layer, 2 * head_size_, index, destination);
}

absl::Status ContentSource::MakeQueries(Queue& queue, int64_t layer, const TensorView& index,
                                        const TensorView& destination) const {
  return Make(queue, layer, head_size_, index, destination);
}

}  // namespace weft::replay
