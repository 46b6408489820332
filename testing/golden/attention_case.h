// SPDX-License-Identifier: Apache-2.0
//
// GoldenAttention: the arrays of a "unified" or "chunked" case, what a float64 oracle makes of
// them, and the judgement of an answer.
#ifndef WEFT_TESTING_GOLDEN_ATTENTION_CASE_H_
#define WEFT_TESTING_GOLDEN_ATTENTION_CASE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention_spec.h"
#include "core/kv_cache.h"
#include "testing/compare.h"
#include "testing/golden/golden_args.h"
#include "testing/golden/golden_data.h"
#include "testing/golden/safetensors.h"

namespace weft::testing {

struct AttentionAnswer {
  HostTensor out;
  HostTensor lse;
  DType weights = DType::kF32;  // what the kernels rounded the softmax's weights to
};

class GoldenAttention {
 public:
  // One tensor [num_blocks, 2, block_size, num_kv_heads, head_size]. The file must outlive the
  // case.
  static absl::StatusOr<GoldenAttention> ReadUnified(const GoldenCase& golden,
                                                     const SafeTensorsFile& file);
  // A 5-D key cache, a 4-D value cache, and the new rows; prefill rows see these instead of what
  // the cache holds of them.
  static absl::StatusOr<GoldenAttention> ReadChunked(const GoldenCase& golden,
                                                     const SafeTensorsFile& file);

  const AttentionSpec& spec() const { return spec_; }
  const KvCacheLayout& layout() const { return layout_; }
  int64_t num_requests() const { return static_cast<int64_t>(seq_lens_.size()); }
  int64_t num_rows() const { return query_.shape[0]; }
  int64_t num_blocks() const { return num_blocks_; }
  int64_t new_tokens(int64_t request) const {
    return query_start_[request + 1] - query_start_[request];
  }
  // The entry of a chunked case is context attention alone: one-row requests see their own row
  // fresh too, not in the cache.
  bool context_attention() const { return context_attention_; }
  const std::vector<int32_t>& query_start() const { return query_start_; }
  const std::vector<int32_t>& seq_lens() const { return seq_lens_; }
  const std::vector<int32_t>& block_table() const { return block_table_; }
  int64_t table_width() const { return table_width_; }

  const SafeTensor& query() const { return query_; }
  const SafeTensor& key() const { return key_; }      // of chunked cases
  const SafeTensor& value() const { return value_; }  // the same
  // The cache's bytes: one tensor for both, or one each.
  const SafeTensor& key_cache() const { return key_cache_; }
  const SafeTensor& value_cache() const { return value_cache_; }
  bool split_cache() const { return split_cache_; }

  // First that the oracle agrees with the file's reference; then `answer` against the reference and
  // against the seed's kernel. `note` is put behind the case's name.
  absl::Status Judge(const AttentionAnswer& answer, std::string_view note) const;

 private:
  explicit GoldenAttention(const GoldenCase& golden) : golden_(&golden) {}

  absl::Status ReadCommon(const SafeTensorsFile& file, std::string_view starts);
  struct Oracle {
    HostTensor out, lse;  // unrounded
    std::vector<double> max_abs_logit;
  };
  Oracle RunOracle() const;
  // Key and value of `position`, as the row of a request sees them, times their scales.
  void Fetch(int64_t request, int64_t kv_head, int64_t position, absl::Span<float> key,
             absl::Span<float> value) const;
  absl::Status CheckReference(const Oracle& oracle, const CompareContext& context) const;
  // As stored numbers: divided by the output's scale, and cut at the largest of an fp8 type.
  HostTensor Stored(HostTensor out) const;

  const GoldenCase* golden_;
  AttentionSpec spec_;
  KvCacheLayout layout_;
  int64_t num_blocks_ = 0;
  bool split_cache_ = false;
  bool context_attention_ = false;
  SafeTensor query_, key_, value_, key_cache_, value_cache_, out_;
  HostTensor reference_, reference_lse_;  // the output before its scale
  std::vector<int32_t> block_table_, query_start_, seq_lens_;
  int64_t table_width_ = 0;
};

}  // namespace weft::testing

#endif  // WEFT_TESTING_GOLDEN_ATTENTION_CASE_H_
