// SPDX-License-Identifier: Apache-2.0
//
// AttentionCase: a batch, its data and the way it is run, as one line:
//
//   attention dtype=bf16 heads=8/2 d=128 block=16 q=1,5,9 ctx=32,35,49 kinds=d,p,p seed=3 pcp=2
#ifndef WEFT_TESTING_CONFORMANCE_ATTENTION_CASE_H_
#define WEFT_TESTING_CONFORMANCE_ATTENTION_CASE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention_spec.h"
#include "core/dtype.h"
#include "core/kv_cache.h"
#include "core/request_batch.h"

namespace weft::testing {

// What the numbers are.
enum class DataKind : int {
  kPlanted,      // large weights at the keys where bugs live: see attention_data.h
  kRandom,       // nothing special
  kHuge,         // one key with a logit of some 1e4, far above all others
  kNegative,     // all logits below -1e4
  kIdentical,    // all keys alike: a uniform softmax
  kEqualValues,  // all values alike: the output is that value
  kZeroKeys,     // keys 0 and small integers as values: sums are exact
};

enum class LseKind : int { kDense, kStrided, kNone };
enum class LayoutKind : int { kNhd, kApart };  // kApart: odd strides, keys and values apart

struct CaseRequest {
  RequestKind kind = RequestKind::kPrefill;
  int64_t new_tokens = 0;
  int64_t context = 0;
  int64_t id = 0;  // data are a function of (seed, id, position): a request keeps them in any batch
};

struct AttentionCase {
  DType dtype = DType::kF16;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_size = 64;
  int64_t block_size = 16;
  std::vector<CaseRequest> requests;
  uint64_t seed = 1;
  int64_t pcp = 1;  // ranks; all of them are run
  DataKind data = DataKind::kPlanted;
  LseKind lse = LseKind::kDense;
  LayoutKind layout = LayoutKind::kNhd;
  bool strided = false;  // query, key, value and out with gaps between heads and rows
  int64_t segments = 1;  // allocations of the cache
  uint64_t pages = 1;    // seed of the page numbers
  // NaN from position nan_from on, in request (index) nan_request: -1 = none. In keys, values or
  // both.
  int64_t nan_request = -1;
  int64_t nan_from = 0;
  bool nan_keys = true;
  bool nan_values = true;

  int64_t num_rows() const;
  AttentionSpec Spec() const;
  absl::StatusOr<KvCacheLayout> Layout() const;

  std::string ToString() const;
  static absl::StatusOr<AttentionCase> Parse(std::string_view line);

  // A small mixed batch, a pure function of `seed`.
  static AttentionCase Random(uint64_t seed);
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_ATTENTION_CASE_H_
