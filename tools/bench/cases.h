// SPDX-License-Identifier: Apache-2.0
//
// What `weft bench` measures, as data: shapes by the names of the table that they are compared
// with, and how large everything around them is.
#ifndef WEFT_TOOLS_BENCH_CASES_H_
#define WEFT_TOOLS_BENCH_CASES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/dtype.h"
#include "core/request_batch.h"

namespace weft::bench {

enum class CaseKind : uint8_t {
  kAttention,
  kCorrectAttnOut,
  kMergeAttnStates,
  kPack,
  kUnpack,
  kReshapeAndCache,
  kHostForward,
};

enum class Group : uint8_t { kDecode, kPrefill, kSmall, kHost, kCeiling };
std::string_view Name(Group group);

struct CaseRequests {
  int64_t count = 1;
  RequestKind kind = RequestKind::kDecode;
  int64_t new_tokens = 1;
  int64_t computed_tokens = 0;
};

struct Case {
  std::string name;
  Group group = Group::kDecode;
  CaseKind kind = CaseKind::kAttention;

  int64_t num_heads = 32;
  int64_t num_kv_heads = 8;
  int64_t head_size = 128;
  int64_t block_size = 16;
  DType kv_dtype = DType::kBF16;  // queries and outputs are bf16
  int64_t window = 0;
  float softcap = 0.0f;
  float scale = 0.0f;  // of the logits; 0: 1 / sqrt(head size)
  std::vector<CaseRequests> requests;

  // Of small operations.
  int64_t rows = 0;        // rows or tokens of a call; sequences of pack and unpack
  int64_t ranks = 0;       // of correct_attn_out
  int64_t max_length = 0;  // of a sequence to pack

  // "decode/b1_8k": what --cases is held against.
  std::string full_name() const;
};

// The cases, and the sizes and times that fit them.
struct Preset {
  std::vector<Case> cases;
  int64_t rotation_bytes = 0;  // inputs of all sets of a case together, at least
  int64_t noise_bytes = 0;     // after so many, contents repeat
  int64_t copy_bytes = 0;      // of the copy that is the ceiling
  int64_t matmul_size = 0;
  int64_t checked_keys = 0;  // that the oracle walks for a case, about
  double warm_up_seconds = 0.0;
  double idle_seconds = 0.0;  // before a cold figure
  double warm_seconds = 0.0;  // before a warm one
  double case_seconds = 0.0;  // of measuring
};

// "full": as the measurements of other libraries were taken. "tiny": every kind of work, for a
// software device. INVALID_ARGUMENT lists them.
absl::StatusOr<Preset> FindPreset(std::string_view name);

}  // namespace weft::bench

#endif  // WEFT_TOOLS_BENCH_CASES_H_
