// SPDX-License-Identifier: Apache-2.0
#include "core/ops/step_arrays.h"

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/request_batch.h"
#include "core/status_macros.h"

namespace weft {
namespace {

absl::Status CheckArrays(std::string_view op, const StepArrays& arrays) {
  const auto invalid = [op](auto... text) {
    return absl::InvalidArgumentError(absl::StrCat(op, ": ", text...));
  };
  const size_t requests = arrays.seq_lens.size();
  if (arrays.query_start_loc.size() != requests + 1) {
    return invalid("query_start_loc has ", arrays.query_start_loc.size(), " entries for ", requests,
                   " requests, must be one more");
  }
  if (arrays.query_start_loc[0] != 0) {
    return invalid("query_start_loc[0] is ", arrays.query_start_loc[0], ", must be 0");
  }
  for (size_t i = 0; i < requests; ++i) {
    const int64_t begin = arrays.query_start_loc[i], end = arrays.query_start_loc[i + 1];
    if (end < begin) {
      return invalid("query_start_loc[", i + 1, "] is ", end, ", below the ", begin, " before it");
    }
    if (arrays.seq_lens[i] < end - begin) {
      return invalid("request ", i, ": seq_lens is ", arrays.seq_lens[i], ", below its ",
                     end - begin, " new tokens");
    }
  }
  if (!arrays.block_table.empty() && !arrays.block_addresses.empty()) {
    return invalid("block_table and block_addresses are both given");
  }
  const size_t entries = std::max(arrays.block_table.size(), arrays.block_addresses.size());
  const std::optional<int64_t> wanted =
      CheckedMul(static_cast<int64_t>(requests), arrays.block_table_width);
  if (arrays.block_table_width < 0 || wanted != static_cast<int64_t>(entries)) {
    return invalid("the block table has ", entries, " entries for ", requests, " requests and ",
                   arrays.block_table_width, " columns");
  }
  return absl::OkStatus();
}

// The ids of request `i`; translated into `ids` if the table holds addresses.
absl::StatusOr<absl::Span<const int32_t>> BlockIds(std::string_view op, const StepArrays& arrays,
                                                   const KvCacheView& cache, size_t i,
                                                   int64_t window, std::vector<int32_t>& ids) {
  const auto width = static_cast<size_t>(arrays.block_table_width);
  if (arrays.block_addresses.empty()) {
    return arrays.block_table.empty() ? absl::Span<const int32_t>()
                                      : arrays.block_table.subspan(i * width, width);
  }
  const int64_t block_size = cache.layout().block_size();
  const int64_t used = CeilDiv(arrays.seq_lens[i], block_size);
  const int64_t given = std::min(used, arrays.block_table_width);
  const int64_t context =
      arrays.seq_lens[i] - (arrays.query_start_loc[i + 1] - arrays.query_start_loc[i]);
  const int64_t first_seen = window > 0 ? std::max<int64_t>(context - window + 1, 0) : 0;
  const int64_t first = std::min(first_seen / block_size, std::max<int64_t>(given - 1, 0));
  ids.assign(static_cast<size_t>(given), -1);
  for (int64_t column = first; column < given; ++column) {
    const absl::StatusOr<int32_t> block =
        cache.BlockOfAddress(arrays.block_addresses[i * width + static_cast<size_t>(column)]);
    if (!block.ok()) {
      return absl::Status(block.status().code(),
                          absl::StrCat(op, ": request ", i, ", block table column ", column, ": ",
                                       block.status().message()));
    }
    ids[static_cast<size_t>(column)] = *block;
  }
  return ids;
}

RequestKind KindOf(DecodeRule rule, int64_t new_tokens) {
  switch (rule) {
    case DecodeRule::kSingleTokens:
      return new_tokens == 1 ? RequestKind::kDecode : RequestKind::kPrefill;
    case DecodeRule::kAllButSingleTokens:
      return new_tokens == 1 ? RequestKind::kPrefill : RequestKind::kDecode;
    case DecodeRule::kAll:
      return RequestKind::kDecode;
    case DecodeRule::kNone:
      break;
  }
  return RequestKind::kPrefill;
}

}  // namespace

absl::StatusOr<AttentionMetadata> BuildStepMetadata(std::string_view op, const StepArrays& arrays,
                                                    const KvCacheView& cache, DecodeRule rule,
                                                    int64_t window) {
  RETURN_IF_ERROR(CheckArrays(op, arrays));
  if (cache.segments().empty())
    return absl::InvalidArgumentError(absl::StrCat(op, ": cache is not given"));
  const size_t requests = arrays.seq_lens.size();
  std::vector<std::vector<int32_t>> translated(requests);
  RequestBatch batch;
  batch.requests.reserve(requests);
  for (size_t i = 0; i < requests; ++i) {
    Request request;
    request.num_new_tokens = arrays.query_start_loc[i + 1] - arrays.query_start_loc[i];
    request.num_computed_tokens = arrays.seq_lens[i] - request.num_new_tokens;
    request.kind = KindOf(rule, request.num_new_tokens);
    ASSIGN_OR_RETURN(request.block_ids, BlockIds(op, arrays, cache, i, window, translated[i]));
    batch.requests.push_back(request);
  }
  MetadataOptions options;
  options.window = std::max<int64_t>(window, 0);
  options.fast = true;  // these calls only read: requests may share every block
  absl::StatusOr<AttentionMetadata> metadata =
      AttentionMetadataBuilder(cache.layout(), cache.num_blocks()).Build(batch, options);
  if (metadata.ok()) return metadata;
  return absl::Status(metadata.status().code(),
                      absl::StrCat(op, ": ", metadata.status().message()));
}

absl::StatusOr<StepLimits> StepLimitsOf(std::string_view op, const AttentionSpec& spec,
                                        const KvCacheLayout& layout, const OpLimits& limits) {
  for (const auto& [name, value, least] : {std::tuple("max_rows", limits.max_rows, 1),
                                           std::tuple("max_decode_rows", limits.max_decode_rows, 0),
                                           std::tuple("max_requests", limits.max_requests, 1),
                                           std::tuple("max_seq_len", limits.max_seq_len, 1),
                                           std::tuple("world_size", limits.world_size, 1)}) {
    if (value < least) {
      return absl::InvalidArgumentError(
          absl::StrCat(op, ": ", name, " is ", value, ", must be >= ", least));
    }
  }
  return StepLimits::For(spec, layout, limits.world_size, limits.max_rows, limits.max_requests,
                         limits.max_seq_len, limits.max_decode_rows);
}

}  // namespace weft
