// SPDX-License-Identifier: Apache-2.0
#include "core/backend.h"

#include <limits>
#include <memory>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

// Has no memory of its own.
class EmptyBackend : public Backend {
 public:
  EmptyBackend() : Backend(DeviceInfo()) {}
  absl::Status Supports(const AttentionSpec&, const KvCacheLayout&) const override { return No(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t) override { return No(); }
  absl::StatusOr<std::unique_ptr<Queue>> CreateQueue() override { return No(); }
  absl::StatusOr<std::shared_ptr<const PreparedAttention>> Prepare(const AttentionSpec&,
                                                                   const KvCacheLayout&) override {
    return No();
  }

 private:
  static absl::Status No() { return absl::UnimplementedError("nothing here"); }
};

TEST(ImportRangeTest, LetsOperationsNameItAsLongAsItLives) {
  const auto backend = std::make_shared<EmptyBackend>();
  const AddressMap& map = backend->allocations();
  EXPECT_EQ(map.Check(0x5000, 16).code(), absl::StatusCode::kOutOfRange);
  {
    const auto range = backend->ImportRange(0x5000, 0x1000);
    ASSERT_TRUE(range.ok()) << range.status();
    EXPECT_EQ((*range)->address(), 0x5000);
    EXPECT_EQ((*range)->size_bytes(), 0x1000);
    EXPECT_TRUE(map.Check(0x5000, 0x1000).ok());
    EXPECT_TRUE(map.Check(0x5ff0, 16).ok());
    EXPECT_FALSE(map.Check(0x5ff0, 17).ok());
    EXPECT_FALSE(map.Check(0x4fff, 16).ok());
    EXPECT_FALSE(map.Find(0x5000, 16).has_value()) << "no allocation, so nothing for copies";
    EXPECT_EQ(map.total_bytes(), 0);
  }
  EXPECT_EQ(map.Check(0x5000, 16).code(), absl::StatusCode::kOutOfRange);
}

// The addresses before a sparse pool, of which one block exists: ranges may overlap, far apart.
TEST(ImportRangeTest, OverlapsAndKeepsTheBackendAlive) {
  auto backend = std::make_shared<EmptyBackend>();
  auto wide = backend->ImportRange(0x1000, int64_t{1} << 40);
  auto narrow = backend->ImportRange(0x2000, 16);
  ASSERT_TRUE(wide.ok() && narrow.ok());
  narrow->reset();
  EXPECT_TRUE(backend->allocations().Check(0x2000, 16).ok()) << "the wide one is still there";
  const std::weak_ptr<Backend> watch = backend;
  backend.reset();
  EXPECT_FALSE(watch.expired());
  wide->reset();
  EXPECT_TRUE(watch.expired());
}

TEST(ImportRangeTest, RefusesNothingAndTheEndOfTheAddressSpace) {
  const auto backend = std::make_shared<EmptyBackend>();
  for (const int64_t bytes : {int64_t{0}, int64_t{-5}}) {
    EXPECT_EQ(backend->ImportRange(0x1000, bytes).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(backend->ImportRange(std::numeric_limits<uint64_t>::max() - 4, 16).ok());
}

}  // namespace
}  // namespace weft
