// SPDX-License-Identifier: Apache-2.0
//
// Content: what the keys, values and queries of a replay are. All of it is a function: a key and a
// value of (layer, block id, position, kv head), where the block id is the hash id that a trace
// gives to a piece of a prompt, or the request's own; a query of (layer, request, position, head).
// So a reused prefix really holds the same content, and the oracle can make anything anew.
//
// Each layer has a table of kTableRows rows, a key and a value each, and the function says which
// row. That makes content cheap on any device: the table is uploaded once, a step uploads row
// numbers, and GatherRows does the rest.
//
// A query is the key of one position that it can see, its *planted* key, so that this key has a
// large weight in the answer. Which one goes round the places where bugs live: the first key, the
// row's own, the one before, edges of pages and granules. A key that is missing there, or a foreign
// one in its place, moves the answer far beyond the tolerance. In a layer with a window it is
// sometimes the key just outside: who sees it gives a very different answer.
#ifndef WEFT_TOOLS_REPLAY_CONTENT_H_
#define WEFT_TOOLS_REPLAY_CONTENT_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/attention_spec.h"
#include "tools/replay/scale.h"

namespace weft::replay {

inline constexpr int64_t kTableRows = 4096;

// Immutable, thread-safe. `workload` must outlive it.
class Content {
 public:
  Content(const Workload& workload, const AttentionSpec& spec, int64_t page_tokens,
          int64_t num_layers, uint64_t seed);

  // The table's row that is the key and value at `position` of `request`.
  int64_t KeyRow(int64_t request, int64_t position, int64_t kv_head) const;
  // The table's row whose key is the query at `position` in a layer of `window` (0: none).
  int64_t QueryRow(int64_t request, int64_t position, int64_t head, int64_t window) const;
  // The position whose key that is; in [0, position].
  int64_t PlantedPosition(int64_t request, int64_t position, int64_t head, int64_t window) const;

  // [kTableRows, 2, head_size] of the dtype: the bytes to upload.
  std::vector<uint8_t> TableBytes(int64_t layer) const;
  // One row's key and value, [head_size] each, as the device has them: they are exact in any dtype
  // that attention computes on.
  void FetchKey(int64_t layer, int64_t row, absl::Span<float> key) const;
  void FetchValue(int64_t layer, int64_t row, absl::Span<float> value) const;
  // The same read back from the cache, as keys and values of `kv_head`: rounded, if it is fp8.
  void FetchCached(int64_t layer, int64_t row, int64_t kv_head, absl::Span<float> key,
                   absl::Span<float> value) const;

 private:
  // Numerators over 8: small enough to be exact in bf16. [layer][row][key, value][head_size]
  absl::Span<const int8_t> Row(int64_t layer, int64_t row, bool value) const;
  uint64_t BlockId(int64_t request, int64_t position) const;

  const Workload* workload_;
  AttentionSpec spec_;
  int64_t page_tokens_;
  uint64_t seed_;
  std::vector<int8_t> tables_;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_CONTENT_H_
