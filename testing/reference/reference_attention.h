// SPDX-License-Identifier: Apache-2.0
//
// Attention of the reference backend: what Queue::Attention says, in plain loops.
#ifndef WEFT_TESTING_REFERENCE_REFERENCE_ATTENTION_H_
#define WEFT_TESTING_REFERENCE_REFERENCE_ATTENTION_H_

#include <cstdint>
#include <string_view>

#include "core/queue.h"

namespace weft {

enum class Precision : uint8_t { kFloat32, kFloat64 };
std::string_view Name(Precision precision);

// `value` rounded once to `dtype` (a detour over float would round twice). `data` is an array of a
// float dtype in host memory.
void StoreRounded(DType dtype, void* data, int64_t index, double value);

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
  int64_t num_heads_;
  int64_t num_kv_heads_;
  int64_t head_size_;
  float scale_;
};

}  // namespace weft

#endif  // WEFT_TESTING_REFERENCE_REFERENCE_ATTENTION_H_
