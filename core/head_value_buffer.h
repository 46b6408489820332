// SPDX-License-Identifier: Apache-2.0
//
// HeadValueBuffer: the per-head numbers of one spec, uploaded to a device.
#ifndef WEFT_CORE_HEAD_VALUE_BUFFER_H_
#define WEFT_CORE_HEAD_VALUE_BUFFER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "core/attention_spec.h"
#include "core/backend.h"
#include "core/head_values.h"

namespace weft {

class HeadValueBuffer {
 public:
  // Blocks until the arrays are uploaded. Errors of Allocate and of queues. `spec` is valid.
  static absl::StatusOr<std::shared_ptr<const HeadValueBuffer>> Create(Backend& backend,
                                                                       const AttentionSpec& spec);

  const HeadValues& values() const { return values_; }

 private:
  HeadValueBuffer() = default;

  std::unique_ptr<Buffer> buffer_;  // null if the spec has no per-head numbers
  HeadValues values_;
};

}  // namespace weft

#endif  // WEFT_CORE_HEAD_VALUE_BUFFER_H_
