// SPDX-License-Identifier: Apache-2.0
//
// Attention and the cache writes through the backend, where the kernels differ: the element-wise
// path, several segments, head sizes between the buckets, groups of any size. The conformance suite
// covers what a user sees.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "vulkan/ops/attention_problem.h"

namespace weft::vulkan {
namespace {

class VulkanAttentionTest : public AttentionTest {
 protected:
  Result Attend(const Problem& problem, std::vector<int64_t> ids = {0, 1, 2, 3}) {
    absl::StatusOr<Result> result = Solve(backend_, problem, std::move(ids));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : Result();
  }

  void ExpectRight(const Problem& problem) { vulkan::ExpectRight(backend_, problem); }
};

TEST_F(VulkanAttentionTest, EveryTypeAndHeadSize) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t head_size :
         dtype == DType::kF16 ? std::vector<int64_t>{64, 80, 256} : std::vector<int64_t>{112}) {
      SCOPED_TRACE(::testing::Message() << Name(dtype) << " head size " << head_size);
      Problem problem;
      problem.dtype = dtype;
      problem.head_size = head_size;
      problem.lengths = {5, 21, 530};
      problem.new_tokens = {1, 17, 1};
      problem.decode = {true, false, true};
      ExpectRight(problem);
    }
  }
}

TEST_F(VulkanAttentionTest, OddHeadSizesAndPlaces) {
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    SCOPED_TRACE(Name(dtype));
    Problem problem;
    problem.dtype = dtype;
    problem.head_size = 37;
    problem.shift = 1;
    problem.lengths = {5, 21};
    problem.new_tokens = {1, 17};
    problem.decode = {true, false};
    ExpectRight(problem);
  }
}

// The layout's strides are multiples of 16 bytes, the base is not.
TEST_F(VulkanAttentionTest, TakesACacheFromAnyBase) {
  Problem problem;
  problem.lengths = {5, 21};
  problem.new_tokens = {1, 17};
  problem.decode = {true, false};
  for (const int64_t shift : {1, 4, 8}) {
    SCOPED_TRACE(shift);
    problem.shift = shift;
    ExpectRight(problem);
  }
}

TEST_F(VulkanAttentionTest, EveryGroupSize) {
  for (const int64_t group : {1, 3, 5, 17}) {
    SCOPED_TRACE(group);
    Problem problem;
    problem.heads = 2 * group;
    problem.lengths = {40, 530};
    problem.new_tokens = {23, 1};
    problem.decode = {false, true};
    ExpectRight(problem);
  }
}

// Semantics 11, and 8: poison stands wherever no request has written.
TEST_F(VulkanAttentionTest, BitsDoNotDependOnPagesOrNeighbours) {
  Problem together;
  const Result all = Attend(together);
  const int64_t row_bytes = together.heads * together.head_size * SizeOf(together.dtype);
  for (const int64_t block_size : {1, 7, 16, 544}) {
    for (const int64_t segments : {1, 3}) {
      int64_t row = 0;
      for (int64_t r = 0; r < 4; ++r) {
        Problem alone = together;
        alone.block_size = block_size;
        alone.segments = segments;
        alone.pages = 77 + r;
        alone.lengths = {together.lengths[r]};
        alone.new_tokens = {together.new_tokens[r]};
        alone.decode = {together.decode[r]};
        const Result one = Attend(alone, {r});
        const int64_t rows = together.new_tokens[r];
        ASSERT_EQ(static_cast<int64_t>(one.out.size()), rows * row_bytes);
        EXPECT_TRUE(std::equal(one.out.begin(), one.out.end(), all.out.begin() + row * row_bytes))
            << "request " << r << " block size " << block_size;
        EXPECT_TRUE(
            std::equal(one.lse.begin(), one.lse.end(), all.lse.begin() + row * together.heads))
            << "request " << r << " block size " << block_size;
        row += rows;
      }
    }
  }
}

// A prefill row's tile depends on where its chunk begins.
TEST_F(VulkanAttentionTest, BitsDoNotDependOnTheChunk) {
  Problem whole;
  whole.heads = whole.kv_heads = 1;
  whole.lengths = {75};
  whole.new_tokens = {75};
  whole.decode = {false};
  const Result all = Attend(whole, {0});
  const int64_t row_bytes = whole.head_size * SizeOf(whole.dtype);
  for (const int64_t rows : {1, 2, 3, 7, 30, 74}) {
    Problem chunk = whole;
    chunk.new_tokens = {rows};
    const Result tail = Attend(chunk, {0});
    ASSERT_EQ(static_cast<int64_t>(tail.out.size()), rows * row_bytes);
    EXPECT_TRUE(
        std::equal(tail.out.begin(), tail.out.end(), all.out.begin() + (75 - rows) * row_bytes))
        << rows;
    EXPECT_TRUE(std::equal(tail.lse.begin(), tail.lse.end(), all.lse.begin() + 75 - rows)) << rows;
  }
}

TEST_F(VulkanAttentionTest, NamesWhatIsNotBuilt) {
  AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 2;
  spec.head_size = 64;
  absl::StatusOr<KvCacheLayout> layout = KvCacheLayout::Nhd(DType::kF16, 16, 2, 64);
  ASSERT_TRUE(layout.ok());
  EXPECT_TRUE(backend_->Supports(spec, *layout).ok());
  auto expect = [&](const AttentionSpec& with, const char* name) {
    const absl::Status status = backend_->Supports(with, *layout);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << name;
    EXPECT_NE(status.message().find(name), std::string::npos) << status;
  };
  AttentionSpec with = spec;
  with.dtype = DType::kF32;
  expect(with, "kv_dtype f16 with dtype f32");
  with = spec;
  with.head_size = 264;
  layout = KvCacheLayout::Nhd(DType::kF16, 16, 2, 264);
  ASSERT_TRUE(layout.ok());
  expect(with, "head_size 264");
}

}  // namespace
}  // namespace weft::vulkan
