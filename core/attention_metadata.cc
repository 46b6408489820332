// SPDX-License-Identifier: Apache-2.0
#include "core/attention_metadata.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"

namespace weft {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

// The first block-table column that a row of the request may read a key of: columns before it lie
// before every window.
int64_t FirstColumn(const Request& request, int64_t used, int64_t tokens_per_block,
                    int64_t window) {
  if (window <= 0 || used == 0) return 0;
  const int64_t first_seen = std::max<int64_t>(request.num_computed_tokens - window + 1, 0);
  return std::min(first_seen / tokens_per_block, used - 1);
}

// Counts, lengths and the used part of the block table of one request. `block_size` counts tokens
// of the sequence.
absl::Status CheckRequest(const Request& request, size_t index, int64_t block_size,
                          int64_t num_blocks, int64_t window) {
  if (request.num_new_tokens < 0 || request.num_computed_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrCat("request ", index, ": ", request.num_new_tokens,
                                                   " new and ", request.num_computed_tokens,
                                                   " computed tokens, both must be >= 0"));
  }
  const std::optional<int64_t> seq_len =
      CheckedAdd(request.num_new_tokens, request.num_computed_tokens);
  if (!seq_len || *seq_len > kMaxInt32) {
    return absl::OutOfRangeError(absl::StrCat("request ", index, ": ", request.num_computed_tokens,
                                              " + ", request.num_new_tokens,
                                              " tokens, must be at most ", kMaxInt32));
  }
  const int64_t used = CeilDiv(*seq_len, block_size);
  const int64_t given = static_cast<int64_t>(request.block_ids.size());
  if (given < used) {
    return absl::InvalidArgumentError(
        absl::StrCat("request ", index, ": ", given, " block ids, but ", *seq_len,
                     " tokens in blocks of ", block_size, " need ", used));
  }
  for (int64_t column = FirstColumn(request, used, block_size, window); column < used; ++column) {
    const int32_t block = request.block_ids[column];
    if (block < 0 || block >= num_blocks) {
      return absl::OutOfRangeError(absl::StrCat("request ", index, ", block table column ", column,
                                                ": block id ", block, " is not in [0, ", num_blocks,
                                                ")"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPrefix(const RequestBatch& batch, int64_t prefix) {
  if (prefix < 0) {
    return absl::InvalidArgumentError(absl::StrCat("common prefix of ", prefix, " tokens"));
  }
  for (size_t i = 0; prefix > 0 && i < batch.requests.size(); ++i) {
    const int64_t computed = batch.requests[i].num_computed_tokens;
    if (computed < prefix) {
      return absl::InvalidArgumentError(
          absl::StrCat("request ", i, ": ", computed,
                       " computed tokens, fewer than the common prefix of ", prefix));
    }
  }
  return absl::OkStatus();
}

int64_t SlotOf(const Request& request, int64_t position, int64_t block_size, const DcpShard& dcp) {
  if (!dcp.Owns(position)) return -1;
  const int64_t local = dcp.LocalIndex(position);
  return int64_t{request.block_ids[local / block_size]} * block_size + local % block_size;
}

// A block takes new tokens of one place of one request only: elsewhere the second write would be
// lost.
absl::Status CheckWrites(const RequestBatch& batch, int64_t block_size) {
  struct Writer {
    size_t request;
    int64_t column;
  };
  absl::flat_hash_map<int32_t, Writer> writers;
  for (size_t i = 0; i < batch.requests.size(); ++i) {
    const Request& request = batch.requests[i];
    if (request.num_new_tokens == 0) continue;
    const int64_t first = request.num_computed_tokens / block_size;
    const int64_t last = (request.num_computed_tokens + request.num_new_tokens - 1) / block_size;
    for (int64_t column = first; column <= last; ++column) {
      const auto [it, added] = writers.try_emplace(request.block_ids[column], Writer{i, column});
      if (!added) {
        return absl::FailedPreconditionError(absl::StrCat(
            "request ", i, ", block table column ", column, ": block ", request.block_ids[column],
            " is also written by request ", it->second.request, ", column ", it->second.column));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Span<const int32_t> AttentionMetadata::blocks(int64_t request) const {
  const int64_t used = CeilDiv(seq_lens_[request], tokens_per_block());
  return absl::MakeConstSpan(block_table_).subspan(request * block_table_width_, used);
}

std::vector<Segment> AttentionMetadata::Segments() const {
  std::vector<Segment> segments;
  for (int64_t i = 0; i < num_requests(); ++i) {
    const int64_t rows = query_start_loc_[i + 1] - query_start_loc_[i];
    if (rows == 0) continue;
    segments.push_back({static_cast<int32_t>(i), query_start_loc_[i], rows, context_lens_[i]});
  }
  return segments;
}

AttentionMetadataBuilder::AttentionMetadataBuilder(const KvCacheLayout& layout, int64_t num_blocks)
    : layout_(layout), num_blocks_(num_blocks) {}

absl::StatusOr<AttentionMetadata> AttentionMetadataBuilder::Build(
    const RequestBatch& batch, const MetadataOptions& options) const {
  if (layout_.block_size() < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the layout has blocks of ", layout_.block_size(), " tokens: no factory made it"));
  }
  RETURN_IF_ERROR(options.dcp.Validate(layout_.block_size()));
  const std::optional<int64_t> product = CheckedMul(layout_.block_size(), options.dcp.world);
  if (!product || *product > kMaxInt32) {
    return absl::OutOfRangeError(absl::StrCat("blocks of ", layout_.block_size(), " tokens on ",
                                              options.dcp.world, " DCP ranks"));
  }
  const int64_t block_size = *product;  // tokens of the sequence in a table column
  AttentionMetadata metadata;
  metadata.layout_ = layout_;
  metadata.num_blocks_ = num_blocks_;
  metadata.dcp_ = options.dcp;
  metadata.window_ = std::max<int64_t>(options.window, 0);
  int64_t tokens = 0;
  for (size_t i = 0; i < batch.requests.size(); ++i) {
    const Request& request = batch.requests[i];
    RETURN_IF_ERROR(CheckRequest(request, i, block_size, num_blocks_, options.window));
    tokens += request.num_new_tokens;
    if (tokens > kMaxInt32) {
      return absl::OutOfRangeError(absl::StrCat("request ", i, ": the step has more than ",
                                                kMaxInt32, " tokens up to here"));
    }
    const int64_t seq_len = request.num_new_tokens + request.num_computed_tokens;
    metadata.query_start_loc_.push_back(static_cast<int32_t>(tokens));
    metadata.seq_lens_.push_back(static_cast<int32_t>(seq_len));
    metadata.context_lens_.push_back(static_cast<int32_t>(request.num_computed_tokens));
    metadata.kinds_.push_back(request.kind);
    metadata.max_query_len_ = std::max(metadata.max_query_len_, request.num_new_tokens);
    metadata.max_seq_len_ = std::max(metadata.max_seq_len_, seq_len);
  }
  RETURN_IF_ERROR(CheckPrefix(batch, options.common_prefix_len));
  if (!options.fast) RETURN_IF_ERROR(CheckWrites(batch, block_size));

  const int64_t requests = metadata.num_requests();
  metadata.block_table_width_ = CeilDiv(metadata.max_seq_len_, block_size);
  const std::optional<int64_t> entries = CheckedMul(requests, metadata.block_table_width_);
  if (!entries || *entries > kMaxInt32) {
    return absl::OutOfRangeError(absl::StrCat("block table of ", requests, " x ",
                                              metadata.block_table_width_,
                                              " entries, must be at most ", kMaxInt32));
  }
  metadata.block_table_.assign(*entries, -1);
  metadata.slot_mapping_.reserve(tokens);
  for (int64_t i = 0; i < requests; ++i) {
    const Request& request = batch.requests[i];
    const int64_t used = CeilDiv(metadata.seq_lens_[i], block_size);
    const auto row = metadata.block_table_.begin() + i * metadata.block_table_width_;
    std::copy_n(request.block_ids.begin(), used, row);
    // Kernels load whole key blocks, and may touch (not use) a key before the window: let it exist.
    const int64_t first = FirstColumn(request, used, block_size, options.window);
    if (first > 0) std::fill_n(row, first, row[first]);
    for (int64_t position = request.num_computed_tokens; position < metadata.seq_lens_[i];
         ++position) {
      metadata.slot_mapping_.push_back(
          SlotOf(request, position, layout_.block_size(), options.dcp));
    }
  }

  const int64_t prefix = options.common_prefix_len;
  if (prefix > 0) {
    for (int64_t i = 0; i < requests; ++i) {
      metadata.suffix_kv_lens_.push_back(static_cast<int32_t>(metadata.seq_lens_[i] - prefix));
    }
    metadata.common_prefix_len_ = prefix;
    metadata.cu_prefix_query_lens_ = {0, static_cast<int32_t>(tokens)};
    metadata.prefix_kv_lens_ = {static_cast<int32_t>(prefix)};
  }
  return metadata;
}

absl::StatusOr<AttentionMetadata> AttentionMetadataBuilder::BuildForGraphCapture(
    int64_t num_requests, int64_t query_len) const {
  if (num_requests < 0 || query_len < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("capture of ", num_requests, " requests of ", query_len, " tokens"));
  }
  if (layout_.block_size() < 1 || num_requests == 0) return Build({});
  const std::optional<int64_t> tokens = CheckedMul(num_requests, query_len);
  if (!tokens || *tokens > kMaxInt32) {
    return absl::OutOfRangeError(absl::StrCat("capture of ", num_requests, " requests of ",
                                              query_len, " tokens, must be at most ", kMaxInt32,
                                              " tokens in all"));
  }
  const int64_t blocks = CeilDiv(query_len, layout_.block_size());
  if (blocks > num_blocks_) {
    return absl::OutOfRangeError(absl::StrCat("capture: ", query_len, " tokens need ", blocks,
                                              " blocks, the cache has ", num_blocks_));
  }
  std::vector<int32_t> ids(blocks);
  for (int64_t i = 0; i < blocks; ++i) ids[i] = static_cast<int32_t>(i);
  Request request;
  request.kind = query_len == 1 ? RequestKind::kDecode : RequestKind::kPrefill;
  request.num_new_tokens = query_len;
  request.block_ids = ids;
  RequestBatch batch;
  batch.requests.assign(num_requests, request);
  MetadataOptions options;
  options.fast = true;  // all requests share their blocks on purpose
  return Build(batch, options);
}

}  // namespace weft
