// SPDX-License-Identifier: Apache-2.0
//
// RequestBatch: what an engine knows about one step. The first station of the path in
// docs/design.md.
#ifndef WEFT_CORE_REQUEST_BATCH_H_
#define WEFT_CORE_REQUEST_BATCH_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace weft {

// A field of the request, never guessed from its length or its place in the batch: a chunked
// prefill can end in one token, and a speculative decode has several. Decodes are replicated over
// the ranks of a PCP group, prefills are split.
enum class RequestKind : uint8_t { kDecode, kPrefill };

std::string_view Name(RequestKind kind);

struct Request {
  RequestKind kind = RequestKind::kPrefill;
  int64_t num_new_tokens = 0;  // rows of this step; 0 is allowed
  int64_t num_computed_tokens =
      0;  // already in the cache; the first new token has this absolute position
  // Ids of the blocks that hold positions [0, num_computed_tokens + num_new_tokens), and perhaps
  // more that are not read. The caller's memory; it must live until AttentionMetadataBuilder::Build
  // returns.
  absl::Span<const int32_t> block_ids;
};

struct RequestBatch {
  std::vector<Request> requests;
};

// The seeds' rule for batches without kinds (pcp_spec.md, 2.3): a request is a decode if its new
// tokens are at most `decode_threshold` (1 without speculation) and it has computed tokens;
// everything else is a prefill. INVALID_ARGUMENT: lengths differ, a negative count (named with its
// request), or a threshold < 1.
absl::StatusOr<std::vector<RequestKind>> ClassifyRequests(
    absl::Span<const int64_t> num_new_tokens, absl::Span<const int64_t> num_computed_tokens,
    int64_t decode_threshold);

}  // namespace weft

#endif  // WEFT_CORE_REQUEST_BATCH_H_
