// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "core/attention_metadata.h"
#include "core/attention_spec.h"
#include "core/dcp_shard.h"
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

std::vector<int32_t> ReadBlocks(FuzzInput& input, const Request& request, int64_t block_size,
                                int64_t dcp_world) {
  constexpr int64_t kMostBlocks = 70;
  const Wide length = Wide{request.num_new_tokens} + request.num_computed_tokens;
  const Wide column = Wide{block_size} * std::max<int64_t>(dcp_world, 1);
  const Wide needed =
      std::clamp<Wide>(WideCeilDiv(std::max<Wide>(length, 0), column), 0, kMostBlocks);
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
  if (input.Below(4) == 1) {
    c.options.dcp.world = input.Integer();
    c.options.dcp.rank = input.Integer();
    c.options.dcp.interleave = input.Integer();
  }
  if (input.Below(4) == 1) c.options.window = input.Integer();
  c.batch.requests.resize(input.Below(9));
  for (Request& request : c.batch.requests) {
    request.kind = input.Below(2) == 0 ? RequestKind::kPrefill : RequestKind::kDecode;
    request.num_new_tokens = input.Integer();
    request.num_computed_tokens = input.Integer();
    c.blocks.push_back(ReadBlocks(input, request, layout.block_size(), c.options.dcp.world));
  }
  for (size_t i = 0; i < c.blocks.size(); ++i) c.batch.requests[i].block_ids = c.blocks[i];
  return c;
}

// ---- The model ----------------------------------------------------------------------------------

// Tokens of a sequence that a column of the block table stands for.
Wide ColumnTokens(const Case& c) { return Wide{c.layout.block_size()} * c.options.dcp.world; }

// The first column that a row of the request can see a key of, if all layers have the window.
Wide FirstColumn(const Case& c, const Request& request, Wide used) {
  if (c.options.window <= 0 || used == 0) return 0;
  const Wide first_key = Wide{request.num_computed_tokens} + 1 - c.options.window;
  return std::min<Wide>(std::max<Wide>(first_key, 0) / ColumnTokens(c), used - 1);
}

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
  const Wide used = WideCeilDiv(seq_len, ColumnTokens(c));
  if (static_cast<Wide>(request.block_ids.size()) < used) {
    codes.insert(absl::StatusCode::kInvalidArgument);
    return;
  }
  for (Wide column = FirstColumn(c, request, used); column < used; ++column) {
    const int64_t block = request.block_ids[static_cast<size_t>(column)];
    if (block < 0 || block >= c.num_blocks) codes.insert(absl::StatusCode::kOutOfRange);
  }
}

bool WritesABlockTwice(const Case& c) {
  std::set<int32_t> written;
  for (const Request& request : c.batch.requests) {
    if (request.num_new_tokens == 0) continue;
    const Wide tokens = ColumnTokens(c);
    const Wide end = request.num_computed_tokens + request.num_new_tokens;
    for (auto column = static_cast<size_t>(request.num_computed_tokens / tokens);
         column * tokens < end; ++column) {
      if (!written.insert(request.block_ids[column]).second) return true;
    }
  }
  return false;
}

Codes Faults(const Case& c, Wide& tokens) {
  Codes codes;
  tokens = 0;
  const DcpShard& dcp = c.options.dcp;
  if (dcp.world < 1 || dcp.interleave < 1 || dcp.rank < 0 || dcp.rank >= dcp.world ||
      c.layout.block_size() % dcp.interleave != 0) {
    return {absl::StatusCode::kInvalidArgument};
  }
  if (ColumnTokens(c) > kMaxInt32) return {absl::StatusCode::kOutOfRange};
  for (const Request& request : c.batch.requests) {
    AddRequestFaults(c, request, codes);
    tokens += request.num_new_tokens;
    if (tokens > kMaxInt32) codes.insert(absl::StatusCode::kOutOfRange);
  }
  if (codes.empty() && !c.options.fast && WritesABlockTwice(c)) {
    codes.insert(absl::StatusCode::kFailedPrecondition);
  }
  const int64_t prefix = c.options.common_prefix_len;
  if (prefix < 0) codes.insert(absl::StatusCode::kInvalidArgument);
  for (const Request& request : c.batch.requests) {
    if (prefix > 0 && request.num_computed_tokens < prefix) {
      codes.insert(absl::StatusCode::kInvalidArgument);
    }
  }
  return codes;
}

// ---- What was accepted --------------------------------------------------------------------------

// Where the token at `position` is written; -1 if another DCP rank holds it.
Wide SlotOf(const Case& c, const Request& request, int64_t position) {
  const DcpShard& dcp = c.options.dcp;
  if (position / dcp.interleave % dcp.world != dcp.rank) return -1;
  const int64_t bs = c.layout.block_size();
  const int64_t round = dcp.interleave * dcp.world;
  const int64_t local = position / round * dcp.interleave + position % dcp.interleave;
  return Wide{request.block_ids[local / bs]} * bs + local % bs;
}

void CheckRequestArrays(const Case& c, const AttentionMetadata& metadata, int64_t i) {
  const Request& request = c.batch.requests[i];
  const int64_t seq_len = request.num_new_tokens + request.num_computed_tokens;
  const int64_t row = metadata.query_start_loc()[i];
  CHECK_EQ(metadata.query_start_loc()[i + 1] - row, request.num_new_tokens);
  CHECK_EQ(metadata.seq_lens()[i], seq_len);
  CHECK_EQ(metadata.context_lens()[i], request.num_computed_tokens);
  CHECK(metadata.kinds()[i] == request.kind);
  CHECK_LE(request.num_new_tokens, metadata.max_query_len());
  CHECK_LE(seq_len, metadata.max_seq_len());
  const auto used = static_cast<int64_t>(WideCeilDiv(seq_len, ColumnTokens(c)));
  const auto first = static_cast<int64_t>(FirstColumn(c, request, used));
  CHECK_EQ(static_cast<int64_t>(metadata.blocks(i).size()), used);
  for (int64_t column = 0; column < metadata.block_table_width(); ++column) {
    const int32_t id = metadata.block_table()[i * metadata.block_table_width() + column];
    if (column < first) {  // freed: any block that exists
      CHECK(id >= 0 && id < c.num_blocks) << "request " << i << ", column " << column;
    } else {
      CHECK_EQ(id, column < used ? request.block_ids[column] : -1);
    }
  }
  for (int64_t t = 0; t < request.num_new_tokens; ++t) {
    const Wide slot = SlotOf(c, request, request.num_computed_tokens + t);
    CHECK(Wide{metadata.slot_mapping()[row + t]} == slot) << "request " << i << ", token " << t;
    CHECK(slot >= -1 && slot < Wide{c.num_blocks} * c.layout.block_size());
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
    std::set<int64_t> slots;
    for (int64_t slot : metadata.slot_mapping()) CHECK(slot == -1 || slots.insert(slot).second);
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
void CheckPlan(const Plan& plan, int64_t block_size) {
  if (plan.key_scope() == KeyScope::kNew) block_size = 1;  // a block id is a row
  const auto check_keys = [&](int64_t first_block, int64_t first_key, int64_t end_key) {
    CHECK_GE(first_block, 0);
    CHECK_GE(first_key, 0);
    CHECK_LT(first_key, end_key);
    CHECK_LE(first_block + (end_key - 1) / block_size + 1,
             static_cast<int64_t>(plan.blocks().size()));
  };
  std::vector<int> times(plan.num_rows(), 0);
  for (const PrefillTile& tile : plan.tiles()) {
    CHECK_GE(tile.num_rows, 1);
    for (int64_t row = tile.first_row; row < tile.first_row + tile.num_rows; ++row) {
      ++times.at(row);
    }
    if (tile.first_block < 0) continue;
    check_keys(tile.first_block, tile.first_key,
               std::min<int64_t>(tile.num_keys, int64_t{tile.first_position} + tile.num_rows));
  }
  int64_t partials = 0;
  for (const DecodeRow& row : plan.decode_rows()) {
    ++times.at(row.row);
    const int64_t end = std::min<int64_t>(row.num_keys, int64_t{row.position} + 1);
    check_keys(row.first_block, row.first_granule * kGranule, end);
    CHECK_EQ(row.first_partial, partials);
    CHECK_GE(row.num_granules, 1);
    CHECK_EQ(row.first_granule + row.num_granules - 1, (end - 1) / kGranule);
    partials += row.num_granules;
  }
  CHECK_EQ(partials, plan.num_partials());
  CHECK_EQ(static_cast<int64_t>(plan.decode_splits().size()), partials);
  for (size_t row = 0; row < times.size(); ++row) CHECK_EQ(times[row], 1) << "row " << row;
  for (int32_t block : plan.blocks()) CHECK(block >= 0 && block < plan.num_blocks());
  for (int64_t slot : plan.slots()) {
    CHECK(slot >= -1 && Wide{slot} < Wide{plan.num_blocks()} * block_size);
  }
}

void CheckPlans(const AttentionMetadata& metadata) {
  AttentionSpec spec;
  spec.num_heads = 2;
  spec.num_kv_heads = 1;
  spec.head_size = 32;
  spec.window = metadata.window();
  const bool refused =
      metadata.common_prefix_len() > 0 || (metadata.dcp().world > 1 && metadata.window() > 0);
  for (int64_t world = 1; world <= 3; ++world) {
    const absl::StatusOr<PcpPartition> partition = PcpPartition::Build(ShapesOf(metadata), world);
    CHECK_OK(partition);
    for (const KeyScope keys : {KeyScope::kAll, KeyScope::kContext, KeyScope::kNew}) {
      PlanOptions options;
      options.partition = world == 1 ? nullptr : &*partition;
      options.keys = keys;
      for (options.rank = 0; options.rank < world; ++options.rank) {
        const absl::StatusOr<Plan> plan = Plan::Build(spec, PlanConfig{}, 0, metadata, options);
        CHECK_EQ(absl::IsUnimplemented(plan.status()), refused) << plan.status();
        if (refused) continue;
        CHECK_OK(plan);
        CheckPlan(*plan, metadata.layout().block_size());
      }
    }
  }
}

void CheckCapture(const AttentionMetadataBuilder& builder, const Case& c, FuzzInput& input) {
  const int64_t requests = input.Integer();
  const int64_t query_len = input.Integer();
  const Wide tokens = Wide{requests} * query_len;
  const bool fits =
      tokens <= kMaxInt32 && WideCeilDiv(query_len, c.layout.block_size()) <= c.num_blocks;
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
    CHECK(!metadata.status().message().empty());
    return;
  }
  CHECK_OK(metadata);
  CheckArrays(c, *metadata, static_cast<int64_t>(tokens));
  // The granules of decodes are one entry for each 512 keys.
  if (metadata->max_seq_len() <= kMaxSeqLen) CheckPlans(*metadata);
}

}  // namespace weft::fuzz
