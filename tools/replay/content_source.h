// SPDX-License-Identifier: Apache-2.0
//
// ContentSource: content on a device. Holds the tables of all layers, and makes rows of keys,
// values and queries of them by GatherRows.
#ifndef WEFT_TOOLS_REPLAY_CONTENT_SOURCE_H_
#define WEFT_TOOLS_REPLAY_CONTENT_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "core/queue.h"
#include "core/tensor_view.h"
#include "tools/replay/content.h"

namespace weft::replay {

class ContentSource {
 public:
  // The upload is recorded on `queue`. Allocate's errors.
  static absl::StatusOr<ContentSource> Create(Backend& backend, Queue& queue,
                                              const Content& content, DType dtype,
                                              int64_t head_size, int64_t num_layers);

  // destination[i] = key and value of the table's row index[i]: i64 [n] to [n, 2 * head_size]. An
  // index of -1 makes NaN: whoever uses padding is found out.
  absl::Status MakeKeysAndValues(Queue& queue, int64_t layer, const TensorView& index,
                                 const TensorView& destination) const;
  // destination[i] = key of the table's row index[i], [n, head_size]: a query is a key.
  absl::Status MakeQueries(Queue& queue, int64_t layer, const TensorView& index,
                           const TensorView& destination) const;

 private:
  absl::Status Make(Queue& queue, int64_t layer, int64_t width, const TensorView& index,
                    const TensorView& destination) const;

  std::unique_ptr<Buffer> tables_;  // [layers, kTableRows, 2, head_size]
  DeviceId device_;
  DType dtype_ = DType::kF16;
  int64_t head_size_ = 0;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_CONTENT_SOURCE_H_
