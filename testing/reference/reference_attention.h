// SPDX-License-Identifier: Apache-2.0
//
// Attention of the reference backend: what Queue::Attention says, in plain loops.
#ifndef WEFT_TESTING_REFERENCE_REFERENCE_ATTENTION_H_
#define WEFT_TESTING_REFERENCE_REFERENCE_ATTENTION_H_

#include <cstdint>

#include "core/attention_spec.h"
#include "core/queue.h"
#include "testing/reference/precision.h"

namespace weft {

// One recorded Attention: the views, and the layer's numbers by value.
class AttentionJob {
 public:
  explicit AttentionJob(const AttentionArgs& args);

  // Attends every row that the tables name. Single-threaded.
  void Run(Precision precision) const;

 private:
  template <typename T>
  void RunTables() const;

  AttentionArgs args_;  // args_.prepared is not used: the layer may be gone
  AttentionSpec spec_;
};

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_REFERENCE_ATTENTION_H_
