// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "core/attention_metadata.h"
#include "core/attention_spec.h"
#include "core/kv_cache.h"
#include "core/pcp_partition.h"
#include "core/plan.h"
#include "core/request_batch.h"
#include "testing/fuzz/fuzz_input.h"
#include "testing/fuzz/properties.h"

namespace weft::fuzz {
namespace {

using Wide = __int128;

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
// Larger steps are legal, and only cost memory.
constexpr int64_t kMaxTokens = 1 << 13;
constexpr int64_t kMaxSeqLen = 1 << 16;

struct Case {
  KvCacheLayout layout;
  int64_t num_blocks = 0;
  MetadataOptions options;
  RequestBatch batch;
  // What block_ids point to: memory of the exact size, so that AddressSanitizer sees a step over.
  std::vector<std::vector<int32_t>> blocks;
};

Wide WideCeilDiv(Wide a, Wide b) { return (a + b - 1) / b; }

std::vector<int32_t> ReadBlocks(FuzzInput& input, const Request& request, int64_t block_size) {
  constexpr int64_t kMostBlocks = 70;
  const Wide length = Wide{request.num_new_tokens} + request.num_computed_tokens;
  const Wide needed =
      std::clamp<Wide>(WideCeilDiv(std::max<Wide>(length, 0), block_size), 0, kMostBlocks);
  int64_t count = static_cast<int64_t>(needed);
  const int64_t mode = input.Below(4);
  if (mode == 2) count = std::max<int64_t>(count - 1, 0);
  if (mode == 3) count = input.Below(kMostBlocks);
  std::vector<int32_t> blocks(count);
  const int32_t first = input.Byte();
  for (int64_t i = 0; i < count; ++i) {
    blocks[i] = mode == 0 || mode == 2 ? first + static_cast<int32_t>(i)
                                       : static_cast<int32_t>(input.Integer());
  }
  return blocks;
}

Case ReadCase(FuzzInput& input, const KvCacheLayout& layout) {
  Case c;
  c.layout = layout;
  c.num_blocks = input.Integer();
  c.options.fast = input.Below(4) == 1;
  if (input.Below(4) == 1) c.options.common_prefix_len = input.Integer();
  c.batch.requests.resize(input.Below(9));
  for (Request& request : c.batch.requests) {
    request.kind = input.Below(2) == 0 ? RequestKind::kPrefill : RequestKind::kDecode;
    request.num_new_tokens = input.Integer();
    request.num_computed_tokens = input.Integer();
    c.blocks.push_back(ReadBlocks(input, request, layout.block_size()));
  }
  for (size_t i = 0; i < c.blocks.size(); ++i) c.batch.requests[i].block_ids = c.blocks[i];
  return c;
}

// ---- The model ----------------------------------------------------------------------------------

// The codes that Build may refuse the case with; none: it must accept it.
using Codes = std::set<absl::StatusCode>;

void AddRequestFaults(const Case& c, const Request& request, Codes& codes) {
  if (request.num_new_tokens < 0 || request.num_computed_tokens < 0) {
    codes.insert(absl::StatusCode::kInvalidArgument);
    return;
  }
  const Wide seq_len = Wide{request.num_new_tokens} + request.num_computed_tokens;
  if (seq_len > kMaxInt32) {
    codes.insert(absl::StatusCode::kOutOfRange);
    return;
  }
  const Wide used = WideCeilDiv(seq_len, c.layout.block_size());
  if (static_cast<Wide>(request.block_ids.size()) < used) {
    codes.insert(absl::StatusCode::kInvalidArgument);
    return;
  }
  for (Wide column = 0; column < used; ++column) {
    const int64_t block = request.block_ids[static_cast<size_t>(column)];
    if (block < 0 || block >= c.num_blocks) codes.insert(absl::StatusCode::kOutOfRange);
  }
  if (c.options.common_prefix_len > 0 &&
      request.num_computed_tokens < c.options.common_prefix_len) {
    codes.insert(absl::StatusCode::kInvalidArgument);
  }
}

bool WritesABlockTwice(const Case& c) {
  std::set<int32_t> written;
  for (const Request& request : c.batch.requests) {
    if (request.num_new_tokens == 0) continue;
    const int64_t bs = c.layout.block_size();
    const int64_t end = request.num_computed_tokens + request.num_new_tokens;
    for (int64_t column = request.num_computed_tokens / bs; column * bs < end; ++column) {
      if (!written.insert(request.block_ids[column]).second) return true;
    }
  }
  return false;
}

Codes Faults(const Case& c, Wide& tokens) {
  Codes codes;
  tokens = 0;
  for (const Request& request : c.batch.requests) {
    AddRequestFaults(c, request, codes);
    tokens += request.num_new_tokens;
    if (tokens > kMaxInt32) codes.insert(absl::StatusCode::kOutOfRange);
  }
  if (c.options.common_prefix_len < 0) codes.insert(absl::StatusCode::kInvalidArgument);
  if (codes.empty() && !c.options.fast && WritesABlockTwice(c)) {
    codes.insert(absl::StatusCode::kFailedPrecondition);
  }
  return codes;
}

// ---- What was accepted --------------------------------------------------------------------------

void CheckRequestArrays(const Case& c, const AttentionMetadata& metadata, int64_t i) {
  const Request& request = c.batch.requests[i];
  const int64_t bs = c.layout.block_size();
  const int64_t seq_len = request.num_new_tokens + request.num_computed_tokens;
  const int64_t row = metadata.query_start_loc()[i];
  CHECK_EQ(metadata.query_start_loc()[i + 1] - row, request.num_new_tokens);
  CHECK_EQ(metadata.seq_lens()[i], seq_len);
  CHECK_EQ(metadata.context_lens()[i], request.num_computed_tokens);
  CHECK(metadata.kinds()[i] == request.kind);
  CHECK_LE(request.num_new_tokens, metadata.max_query_len());
  CHECK_LE(seq_len, metadata.max_seq_len());
  const int64_t used = static_cast<int64_t>(WideCeilDiv(seq_len, bs));
  CHECK_EQ(static_cast<int64_t>(metadata.blocks(i).size()), used);
  for (int64_t column = 0; column < metadata.block_table_width(); ++column) {
    CHECK_EQ(metadata.block_table()[i * metadata.block_table_width() + column],
             column < used ? request.block_ids[column] : -1);
  }
  for (int64_t t = 0; t < request.num_new_tokens; ++t) {
    const int64_t position = request.num_computed_tokens + t;
    const Wide slot = Wide{request.block_ids[position / bs]} * bs + position % bs;
    CHECK(Wide{metadata.slot_mapping()[row + t]} == slot) << "request " << i << ", token " << t;
    CHECK(slot >= 0 && slot < Wide{c.num_blocks} * bs);
  }
}

void CheckArrays(const Case& c, const AttentionMetadata& metadata, int64_t tokens) {
  const int64_t requests = static_cast<int64_t>(c.batch.requests.size());
  CHECK_EQ(metadata.num_requests(), requests);
  CHECK_EQ(metadata.num_actual_tokens(), tokens);
  CHECK_EQ(static_cast<int64_t>(metadata.slot_mapping().size()), tokens);
  CHECK_EQ(metadata.query_start_loc()[0], 0);
  for (int64_t i = 0; i < requests; ++i) CheckRequestArrays(c, metadata, i);
  if (!c.options.fast) {
    const absl::Span<const int64_t> slots = metadata.slot_mapping();
    CHECK_EQ(std::set<int64_t>(slots.begin(), slots.end()).size(), slots.size());
  }
  const bool prefix = c.options.common_prefix_len > 0;
  CHECK_EQ(metadata.suffix_kv_lens().size(), prefix ? c.batch.requests.size() : 0);
  for (int32_t length : metadata.suffix_kv_lens()) CHECK_GE(length, 0);
  int64_t rows = 0;
  for (const Segment& segment : metadata.Segments()) {
    CHECK_EQ(segment.first_row, rows);
    rows += segment.num_rows;
  }
  CHECK_EQ(rows, tokens);
}

// No kernel that believes the plan can leave the cache or its query rows.
void CheckPlan(const Plan& plan, int64_t block_size, int64_t num_blocks) {
  const auto check_keys = [&](int64_t first_block, int64_t last_position) {
    CHECK_GE(first_block, 0);
    CHECK_LT(first_block + last_position / block_size, static_cast<int64_t>(plan.blocks().size()));
  };
  std::vector<int> times(plan.num_rows(), 0);
  for (const PrefillTile& tile : plan.tiles()) {
    CHECK_GE(tile.num_rows, 1);
    for (int64_t row = tile.first_row; row < tile.first_row + tile.num_rows; ++row) {
      ++times.at(row);
    }
    if (tile.first_block >= 0) {
      check_keys(tile.first_block, int64_t{tile.first_position} + tile.num_rows - 1);
    }
  }
  for (const DecodeRow& row : plan.decode_rows()) {
    ++times.at(row.row);
    check_keys(row.first_block, row.position);
    CHECK_LE(row.first_partial + row.position / kGranule + 1, plan.num_partials());
  }
  for (size_t row = 0; row < times.size(); ++row) CHECK_EQ(times[row], 1) << "row " << row;
  for (int32_t block : plan.blocks()) CHECK(block >= 0 && block < num_blocks);
  for (int64_t slot : plan.slots()) {
    CHECK(slot >= -1 && Wide{slot} < Wide{num_blocks} * block_size);
  }
  CHECK_EQ(static_cast<int64_t>(plan.decode_splits().size()), plan.num_partials());
}

void CheckPlans(const AttentionMetadata& metadata) {
  AttentionSpec spec;
  spec.num_heads = 2;
  spec.num_kv_heads = 1;
  spec.head_size = 32;
  for (int64_t world = 1; world <= 3; ++world) {
    const absl::StatusOr<PcpPartition> partition = PcpPartition::Build(ShapesOf(metadata), world);
    CHECK_OK(partition);
    for (int64_t rank = 0; rank < world; ++rank) {
      const absl::StatusOr<Plan> plan = Plan::Build(spec, PlanConfig{}, 0, metadata,
                                                    world == 1 ? nullptr : &*partition, rank);
      if (metadata.common_prefix_len() > 0) {
        CHECK(absl::IsUnimplemented(plan.status())) << plan.status();
        continue;
      }
      CHECK_OK(plan);
      CheckPlan(*plan, metadata.layout().block_size(), metadata.num_blocks());
    }
  }
}

void CheckCapture(const AttentionMetadataBuilder& builder, const Case& c, FuzzInput& input) {
  const int64_t requests = input.Integer();
  const int64_t query_len = input.Integer();
  const Wide tokens = Wide{requests} * query_len;
  const bool fits = tokens <= kMaxInt32 &&
                    WideCeilDiv(query_len, c.layout.block_size()) <= c.num_blocks;
  const bool legal = requests >= 0 && query_len >= 1 && (fits || requests == 0);
  if (legal && (tokens > kMaxTokens || requests > kMaxTokens)) return;
  const absl::StatusOr<AttentionMetadata> metadata =
      builder.BuildForGraphCapture(requests, query_len);
  CHECK_EQ(metadata.ok(), legal) << metadata.status() << " for " << requests << " x " << query_len;
  if (!legal) return;
  CHECK_EQ(metadata->num_requests(), requests);
  for (int32_t length : metadata->seq_lens()) CHECK_EQ(length, query_len);
}

}  // namespace

void MetadataProperty(absl::Span<const uint8_t> bytes) {
  FuzzInput input(bytes);
  const int64_t block_size = input.Integer();
  const absl::StatusOr<KvCacheLayout> layout = KvCacheLayout::Nhd(DType::kF16, block_size, 1, 32);
  CHECK_EQ(layout.ok(), block_size >= 1 && block_size <= kMaxInt32) << layout.status();
  if (!layout.ok()) return;
  const Case c = ReadCase(input, *layout);
  const AttentionMetadataBuilder builder(*layout, c.num_blocks);
  CheckCapture(builder, c, input);

  Wide tokens = 0;
  const Codes faults = Faults(c, tokens);
  if (faults.empty() && tokens > kMaxTokens) return;
  const absl::StatusOr<AttentionMetadata> metadata = builder.Build(c.batch, c.options);
  if (!faults.empty()) {
    CHECK(faults.count(metadata.status().code()) > 0) << metadata.status();
    CHECK(c.options.common_prefix_len < 0 || absl::StrContains(metadata.status().message(), "request "))
        << metadata.status();
    return;
  }
  CHECK_OK(metadata);
  CheckArrays(c, *metadata, static_cast<int64_t>(tokens));
  // The granules of decodes are one entry for each 512 keys.
  if (metadata->max_seq_len() <= kMaxSeqLen) CheckPlans(*metadata);
}

}  // namespace weft::fuzz
