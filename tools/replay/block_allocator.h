// SPDX-License-Identifier: Apache-2.0
//
// BlockAllocator: who holds which block of the paged KV cache. Blocks that hold a whole piece of a
// prompt stay findable after their request has ended, and a later request whose prompt begins with
// the same hash ids takes them over instead of computing them again. A block in use by several
// requests, or findable, is never written: new tokens always begin in a block of their own.
#ifndef WEFT_TOOLS_REPLAY_BLOCK_ALLOCATOR_H_
#define WEFT_TOOLS_REPLAY_BLOCK_ALLOCATOR_H_

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace weft::replay {

// The blocks of one running request. Made by its owner, filled by the allocator.
struct Sequence {
  int64_t prompt_length = 0;           // tokens
  int64_t total_length = 0;            // prompt and output
  absl::Span<const int64_t> hash_ids;  // of the prompt; the owner's memory

  std::vector<int32_t> blocks;  // in order of position
  int64_t reused_tokens = 0;    // at the front, found in the cache at Admit

  // The allocator's own notes.
  int64_t reserved = 0;   // blocks promised and not taken yet
  int64_t committed = 0;  // leading blocks that Commit has seen
  int64_t node = -1;      // of the last committed block
};

struct BlockCounts {
  int64_t total = 0;
  int64_t used = 0;    // held by a request
  int64_t cached = 0;  // findable, held by none
};

class BlockAllocator {
 public:
  // `num_blocks` blocks of `block_size` tokens; a hash id stands for `hash_block` tokens.
  BlockAllocator(int64_t num_blocks, int64_t block_size, int64_t hash_block);

  // Finds the longest run of whole blocks at the front of the prompt that are in the cache (short
  // of the last token: at least one is computed), and promises the blocks for the rest of the
  // request, so that a request once admitted never waits for memory. False, and nothing has
  // changed: too few blocks now.
  bool Admit(Sequence& sequence);

  // Makes `sequence.blocks` hold positions [0, length), length <= total_length.
  void Grow(Sequence& sequence, int64_t length);

  // The positions [0, computed) are written: whole blocks of the prompt become findable.
  void Commit(Sequence& sequence, int64_t computed);

  // The request has ended.
  void Release(Sequence& sequence);

  BlockCounts counts() const;
  int64_t block_size() const { return block_size_; }

 private:
  // A piece of a prompt: what stands before it (a node, -1 at the front) and the hash ids that
  // overlap it. Exact, not a hash: equal keys are equal content.
  using Key = std::pair<int64_t, std::vector<int64_t>>;

  struct Block {
    int64_t references = 0;
    int64_t node = -1;  // unique for all time; -1: not findable
    int64_t stamp = 0;  // when it was last released
    Key key;
  };

  Key KeyOf(const Sequence& sequence, int64_t index, int64_t parent) const;
  // Leading blocks of the prompt that may be shared: whole, and with hash ids.
  int64_t ShareableBlocks(const Sequence& sequence) const;
  void Reference(int32_t block);
  int32_t Take();

  int64_t block_size_;
  int64_t hash_block_;
  std::vector<Block> blocks_;
  std::vector<int32_t> free_;
  absl::flat_hash_map<Key, int32_t> findable_;
  // Findable blocks that nobody holds, the one to give up first in front. Children go before their
  // parents: Release stamps the last block first.
  std::set<std::pair<int64_t, int32_t>> evictable_;
  int64_t reserved_ = 0;
  int64_t next_node_ = 0;
  int64_t next_stamp_ = 0;
};

}  // namespace weft::replay

#endif  // WEFT_TOOLS_REPLAY_BLOCK_ALLOCATOR_H_
