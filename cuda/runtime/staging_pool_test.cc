// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/staging_pool.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

// Counts what is out, and runs dry after `limit` chunks.
class Memory {
 public:
  explicit Memory(size_t limit) : limit_(limit) {}

  StagingPool::Source Source() {
    return {[this](int64_t bytes) -> absl::StatusOr<uint8_t*> {
              if (live_.size() == limit_) return absl::ResourceExhaustedError("dry");
              auto* data = static_cast<uint8_t*>(
                  std::aligned_alloc(StagingPool::kAlignment, static_cast<size_t>(bytes)));
              live_.insert(data);
              return data;
            },
            [this](uint8_t* data) {
              EXPECT_EQ(live_.erase(data), 1u);
              std::free(data);
            }};
  }
  size_t live() const { return live_.size(); }

 private:
  size_t limit_;
  std::set<uint8_t*> live_;
};

TEST(StagingPool, CopiesOfOneLeaseDoNotOverlap) {
  Memory memory(8);
  StagingPool pool(memory.Source());
  StagingPool::Lease lease;
  std::vector<absl::Span<uint8_t>> pieces;
  for (int64_t bytes : {int64_t{1}, int64_t{256}, int64_t{257}, StagingPool::kChunkBytes,
                        int64_t{5}, StagingPool::kChunkBytes - 300}) {
    absl::StatusOr<absl::Span<uint8_t>> piece = pool.Take(lease, bytes);
    ASSERT_TRUE(piece.ok()) << piece.status();
    ASSERT_EQ(static_cast<int64_t>(piece->size()), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece->data()) % StagingPool::kAlignment, 0u);
    pieces.push_back(*piece);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    std::memset(pieces[i].data(), static_cast<int>(i), pieces[i].size());
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i].front(), i);
    EXPECT_EQ(pieces[i].back(), i);
  }
  pool.Release(std::move(lease));
}

TEST(StagingPool, LongCopiesComeInChunks) {
  Memory memory(8);
  StagingPool pool(memory.Source());
  StagingPool::Lease lease;
  const auto piece = pool.Take(lease, 3 * StagingPool::kChunkBytes);
  ASSERT_TRUE(piece.ok());
  EXPECT_EQ(static_cast<int64_t>(piece->size()), StagingPool::kChunkBytes);
  pool.Release(std::move(lease));
}

TEST(StagingPool, MemoryIsUsedAgainOnlyAfterRelease) {
  Memory memory(8);
  StagingPool pool(memory.Source());
  StagingPool::Lease first;
  StagingPool::Lease second;
  const uint8_t* one = pool.Take(first, 100)->data();
  const uint8_t* two = pool.Take(second, 100)->data();
  EXPECT_NE(one, two);
  EXPECT_EQ(memory.live(), 2u);
  pool.Release(std::move(first));
  StagingPool::Lease third;
  EXPECT_EQ(pool.Take(third, 100)->data(), one);
  EXPECT_EQ(memory.live(), 2u) << "no third chunk is needed";
  pool.Release(std::move(second));
  pool.Release(std::move(third));
  EXPECT_EQ(pool.pooled_bytes(), 2 * StagingPool::kChunkBytes);
}

TEST(StagingPool, FreesWhatIsBackAndOnlyThat) {
  Memory memory(8);
  StagingPool::Lease kept;
  uint8_t* still_used = nullptr;
  {
    StagingPool pool(memory.Source());
    StagingPool::Lease lease;
    ASSERT_TRUE(pool.Take(lease, 1).ok());
    still_used = pool.Take(kept, 1)->data();
    pool.Release(std::move(lease));
  }
  EXPECT_EQ(memory.live(), 1u);
  std::free(still_used);
}

TEST(StagingPool, PassesOnThatMemoryRanOut) {
  Memory memory(1);
  StagingPool pool(memory.Source());
  StagingPool::Lease lease;
  ASSERT_TRUE(pool.Take(lease, StagingPool::kChunkBytes).ok());
  EXPECT_EQ(pool.Take(lease, 1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(lease.size(), 1u);
  pool.Release(std::move(lease));
}

}  // namespace
}  // namespace weft::cuda
