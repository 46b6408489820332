// SPDX-License-Identifier: Apache-2.0
//
// For tests of the kernels: a batch over a paged cache of known values, written, attended to, and
// held against the oracle.
#ifndef WEFT_VULKAN_OPS_ATTENTION_PROBLEM_H_
#define WEFT_VULKAN_OPS_ATTENTION_PROBLEM_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention_spec.h"
#include "core/backend.h"
#include "core/dtype.h"
#include "core/kv_cache.h"
#include "gtest/gtest.h"

namespace weft::vulkan {

enum class CacheOrder { kNhd, kHnd, kSplitX, kSplitBy2, kRows };

struct Problem {
  DType dtype = DType::kF16;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_size = 64;
  int64_t block_size = 16;
  CacheOrder order = CacheOrder::kNhd;
  int64_t segments = 1;
  int64_t shift = 0;   // elements from an allocation's start to the cache
  uint32_t pages = 1;  // seed of the page permutation
  std::vector<int64_t> lengths = {5, 40, 600, 1300};
  std::vector<int64_t> new_tokens = {1, 33, 1, 70};
  std::vector<bool> decode = {true, false, true, false};

  std::optional<DType> kv_dtype;  // dtype
  bool fp8_query = false;
  std::optional<DType> out_dtype;
  float out_scale = 1.0f;
  float softcap = 0.0f;
  int64_t window = 0;
  bool alibi = false;
  bool sinks = false;
  std::vector<float> k_scales;
  std::vector<float> v_scales;

  AttentionSpec Spec() const;
  absl::StatusOr<KvCacheLayout> Layout() const;
};

struct Result {
  std::vector<uint8_t> out;  // [tokens, heads, head_size] of the output's dtype
  std::vector<float> lse;    // [tokens, heads]
};

// Requests are numbered by `ids`, so that a request keeps its values when it is alone.
absl::StatusOr<Result> Solve(const std::shared_ptr<Backend>& backend, const Problem& problem,
                             std::vector<int64_t> ids);

// Solves it, and holds every row and a third of the heads against the oracle.
void ExpectRight(const std::shared_ptr<Backend>& backend, const Problem& problem);

// Registered once; hazards are verified. Null, and skipped, without a device.
class AttentionTest : public ::testing::Test {
 protected:
  void SetUp() override;

  std::shared_ptr<Backend> backend_;
};

}  // namespace weft::vulkan

#endif  // WEFT_VULKAN_OPS_ATTENTION_PROBLEM_H_
