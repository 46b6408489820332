// SPDX-License-Identifier: Apache-2.0
//
// AttentionCase: a batch, its data and the way it is run, as one line:
//
//   attention dtype=bf16 heads=8/2 d=128 block=16 q=1,5,9 ctx=32,35,49 kinds=d,p,p seed=3 pcp=2
//   kv=f8e4m3 scales=head window=17 sinks=some layout=x
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
#include "core/plan.h"
#include "core/request_batch.h"
#include "testing/conformance/placed_memory.h"

namespace weft::testing {

// What the numbers are.
enum class DataKind : int {
  kPlanted,      // large weights at the keys where bugs live: see attention_data.h
  kRandom,       // nothing special
  kHuge,         // one key with a logit of some 5e4, far above all others
  kNegative,     // all logits below -1e4
  kIdentical,    // all keys alike: a uniform softmax
  kEqualValues,  // all values alike: the output is that value
  kZeroKeys,     // keys 0 and small integers as values: sums are exact
  kLarge,        // planted keys with logits of some 50
  kCoarse,       // numbers that both fp8 types and their products hold exactly
};

enum class KvKind : int { kSame, kE4M3, kE5M2 };  // kSame: the cache has the case's dtype
// Of an fp8 cache. kPowers: one for each head, all powers of two.
enum class ScaleKind : int { kNone, kTensor, kHead, kPowers };
enum class OutKind : int { kSame, kF32, kE4M3 };
// ALiBi slopes and sinks. kNeutral: they are given but must change nothing (0, -inf).
enum class HeadNumbers : int { kNone, kSome, kNeutral };
enum class LseKind : int { kDense, kStrided, kNone };
enum class LayoutKind : int {
  kNhd,
  kHnd,
  kSplitX,  // the 5-D key and 4-D value of seed 003
  kApart,   // odd strides, keys and values apart
};
enum class IoKind : int {
  kDense,
  kStrided,  // query, key, value and out with gaps between heads and rows
  kOffset,   // they begin one element behind an aligned address; the cache too
};
// Which keys, and how.
enum class KeyMode : int {
  kAll,      // write and attend
  kContext,  // KeyScope::kContext: a partial state
  kNew,      // KeyScope::kNew: a partial state
  kSplit,    // the two of them, then MergeStates: the whole answer
  kShared,   // the cache holds the new tokens already (KV sharing)
};
// What memory that nobody may use holds, where a pool has no token.
enum class PoisonKind : int { kNan, kInfinity, kBig, kZero };

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
  IoKind io = IoKind::kDense;
  int64_t segments = 1;  // allocations of the cache
  uint64_t pages = 1;    // seed of the page numbers; and what the tails of block tables hold

  KvKind kv = KvKind::kSame;
  ScaleKind scales = ScaleKind::kNone;
  bool fp8_query = false;
  OutKind out = OutKind::kSame;
  double softcap = 0;
  double scale = 0;  // 0: the default
  HeadNumbers alibi = HeadNumbers::kNone;
  HeadNumbers sinks = HeadNumbers::kNone;
  int64_t window = 0;
  bool evict = false;  // blocks before every window are freed: MetadataOptions::window
  KeyMode keys = KeyMode::kAll;
  RowScope rows = RowScope::kAll;

  // NaN from position nan_from on, in request (index) nan_request: -1 = none. In keys, values or
  // both.
  int64_t nan_request = -1;
  int64_t nan_from = 0;
  bool nan_keys = true;
  bool nan_values = true;
  PoisonKind poison_keys = PoisonKind::kNan;
  PoisonKind poison_values = PoisonKind::kNan;
  int64_t bias = 0;  // blocks that the pool's base lies before its first real block
  Place place = Place::kDevice;

  // For properties. Factors are powers of two on every query and value; the data of position p are
  // those of p - shift; the keys of the context stand in reverse; `repeat` KV heads have the same
  // data.
  double query_factor = 1;
  double value_factor = 1;
  int64_t shift = 0;
  bool reverse = false;
  int64_t repeat = 1;

  int64_t num_rows() const;
  // Of the cache.
  DType kv_dtype() const;
  DType query_dtype() const { return fp8_query ? DType::kF8E4M3 : dtype; }
  DType output_dtype() const;
  // In which key and value are given to the call. Not quantised, but for an fp8 query over new
  // tokens: such kernels read fp8 keys only.
  DType key_dtype() const;
  bool partial() const { return keys == KeyMode::kContext || keys == KeyMode::kNew; }
  bool writes_cache() const { return keys == KeyMode::kAll || keys == KeyMode::kContext; }
  bool in_scope(const CaseRequest& request) const;

  AttentionSpec Spec() const;
  absl::StatusOr<KvCacheLayout> Layout() const;

  std::string ToString() const;
  static absl::StatusOr<AttentionCase> Parse(std::string_view line);

  // A small mixed batch, a pure function of `seed`; plain types, no features.
  static AttentionCase Random(uint64_t seed);
};

// A layout of the named kind.
absl::StatusOr<KvCacheLayout> MakeLayout(LayoutKind kind, DType dtype, int64_t block_size,
                                         int64_t kv_heads, int64_t head_size);

// Scales of `kind` for keys (or values), for that many KV heads: none, one, or one each.
std::vector<float> MakeScales(ScaleKind kind, int64_t kv_heads, int64_t repeat, bool keys);

}  // namespace weft::testing

#endif  // WEFT_TESTING_CONFORMANCE_ATTENTION_CASE_H_
