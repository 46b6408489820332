// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/block_allocator.h"

#include <algorithm>

#include "absl/log/check.h"
#include "core/checked_math.h"

namespace weft::replay {

BlockAllocator::BlockAllocator(int64_t num_blocks, int64_t block_size, int64_t hash_block)
    : block_size_(block_size), hash_block_(hash_block), blocks_(num_blocks) {
  for (int64_t block = num_blocks - 1; block >= 0; --block) {
    free_.push_back(static_cast<int32_t>(block));
  }
}

BlockAllocator::Key BlockAllocator::KeyOf(const Sequence& sequence, int64_t index,
                                          int64_t parent) const {
  const int64_t first = index * block_size_ / hash_block_;
  const int64_t last = ((index + 1) * block_size_ - 1) / hash_block_;
  const auto ids = sequence.hash_ids.subspan(first, last - first + 1);
  return {parent, std::vector<int64_t>(ids.begin(), ids.end())};
}

int64_t BlockAllocator::ShareableBlocks(const Sequence& sequence) const {
  return sequence.hash_ids.empty() ? 0 : sequence.prompt_length / block_size_;
}

void BlockAllocator::Reference(int32_t block) {
  Block& entry = blocks_[block];
  if (entry.references++ == 0 && entry.node >= 0) evictable_.erase({entry.stamp, block});
}

bool BlockAllocator::Admit(Sequence& sequence) {
  const int64_t limit =
      std::min(ShareableBlocks(sequence), (sequence.prompt_length - 1) / block_size_);
  std::vector<int32_t> found;
  int64_t parent = -1;
  int64_t found_unheld = 0;
  while (static_cast<int64_t>(found.size()) < limit) {
    const auto at = findable_.find(KeyOf(sequence, static_cast<int64_t>(found.size()), parent));
    if (at == findable_.end()) break;
    found.push_back(at->second);
    const Block& entry = blocks_[at->second];
    parent = entry.node;
    if (entry.references == 0) ++found_unheld;
  }
  const auto num_found = static_cast<int64_t>(found.size());
  const int64_t needed = CeilDiv(sequence.total_length, block_size_) - num_found;
  const auto obtainable = static_cast<int64_t>(free_.size() + evictable_.size());
  if (needed > obtainable - found_unheld - reserved_) return false;

  for (const int32_t block : found) Reference(block);
  reserved_ += needed;
  sequence.blocks = std::move(found);
  sequence.reused_tokens = num_found * block_size_;
  sequence.reserved = needed;
  sequence.committed = num_found;
  sequence.node = parent;
  return true;
}

int32_t BlockAllocator::Take() {
  if (!free_.empty()) {
    const int32_t block = free_.back();
    free_.pop_back();
    return block;
  }
  CHECK(!evictable_.empty()) << "a block was promised that does not exist";
  const int32_t block = evictable_.begin()->second;
  evictable_.erase(evictable_.begin());
  Block& entry = blocks_[block];
  findable_.erase(entry.key);
  entry.node = -1;
  return block;
}

void BlockAllocator::Grow(Sequence& sequence, int64_t length) {
  while (static_cast<int64_t>(sequence.blocks.size()) < CeilDiv(length, block_size_)) {
    CHECK_GT(sequence.reserved, 0);
    --sequence.reserved;
    --reserved_;
    const int32_t block = Take();
    Reference(block);
    sequence.blocks.push_back(block);
  }
}

void BlockAllocator::Commit(Sequence& sequence, int64_t computed) {
  const int64_t whole = std::min(computed / block_size_, ShareableBlocks(sequence));
  for (; sequence.committed < whole; ++sequence.committed) {
    const int32_t block = sequence.blocks[sequence.committed];
    Key key = KeyOf(sequence, sequence.committed, sequence.node);
    const auto [at, is_new] = findable_.try_emplace(key, block);
    if (is_new) {
      blocks_[block].node = next_node_++;
      blocks_[block].key = std::move(key);
    }
    // Another request has computed the same at the same time: later blocks go on from its block.
    sequence.node = blocks_[at->second].node;
  }
}

void BlockAllocator::Release(Sequence& sequence) {
  reserved_ -= sequence.reserved;
  sequence.reserved = 0;
  for (auto at = sequence.blocks.rbegin(); at != sequence.blocks.rend(); ++at) {
    Block& entry = blocks_[*at];
    if (--entry.references > 0) continue;
    if (entry.node < 0) {
      free_.push_back(*at);
    } else {
      entry.stamp = next_stamp_++;
      evictable_.insert({entry.stamp, *at});
    }
  }
  sequence.blocks.clear();
}

BlockCounts BlockAllocator::counts() const {
  BlockCounts counts;
  counts.total = static_cast<int64_t>(blocks_.size());
  counts.cached = static_cast<int64_t>(evictable_.size());
  counts.used = counts.total - counts.cached - static_cast<int64_t>(free_.size());
  return counts;
}

}  // namespace weft::replay
