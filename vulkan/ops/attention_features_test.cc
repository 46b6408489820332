// SPDX-License-Identifier: Apache-2.0
//
// What a layer may ask for, in the kernels: logits of other shapes, windows, sinks, fp8 on every
// side, other orders of the cache. Alone, and together. One head size, so that there are few
// kernels to compile.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "vulkan/ops/attention_problem.h"

namespace weft::vulkan {
namespace {

class AttentionFeaturesTest : public AttentionTest {
 protected:
  void ExpectRight(const Problem& problem) { vulkan::ExpectRight(backend_, problem); }
};

Problem SmallProblem() {
  Problem problem;
  problem.lengths = {5, 40, 600, 1100};
  problem.new_tokens = {1, 33, 1, 19};
  return problem;
}

TEST_F(AttentionFeaturesTest, Softcap) {
  Problem problem = SmallProblem();
  for (const float softcap : {0.5f, 30.0f}) {
    SCOPED_TRACE(softcap);
    problem.softcap = softcap;
    ExpectRight(problem);
  }
}

TEST_F(AttentionFeaturesTest, Alibi) {
  Problem problem = SmallProblem();
  problem.alibi = true;
  ExpectRight(problem);
}

TEST_F(AttentionFeaturesTest, Window) {
  Problem problem = SmallProblem();
  for (const int64_t window : {1, 2, 17, 511, 513, 5000}) {
    SCOPED_TRACE(window);
    problem.window = window;
    ExpectRight(problem);
  }
}

TEST_F(AttentionFeaturesTest, Sinks) {
  Problem problem = SmallProblem();
  problem.sinks = true;
  ExpectRight(problem);
}

TEST_F(AttentionFeaturesTest, AllTogether) {
  Problem problem = SmallProblem();
  problem.dtype = DType::kF32;
  problem.softcap = 4.0f;
  problem.alibi = problem.sinks = true;
  problem.window = 70;
  ExpectRight(problem);
}

TEST_F(AttentionFeaturesTest, Fp8Caches) {
  for (const DType kv : {DType::kF8E4M3, DType::kF8E5M2}) {
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      SCOPED_TRACE(::testing::Message() << Name(kv) << " under " << Name(dtype));
      Problem problem = SmallProblem();
      problem.dtype = dtype;
      problem.kv_dtype = kv;
      problem.k_scales = {0.37f, 1.5f};
      problem.v_scales = {0.011f};
      ExpectRight(problem);
    }
  }
}

TEST_F(AttentionFeaturesTest, Fp8QueryAndOutput) {
  for (const DType kv : {DType::kF8E4M3, DType::kF8E5M2}) {
    SCOPED_TRACE(Name(kv));
    Problem problem = SmallProblem();
    problem.dtype = DType::kBF16;
    problem.kv_dtype = kv;
    problem.fp8_query = true;
    problem.out_dtype = DType::kF8E4M3;
    problem.out_scale = 0.001f;  // some results saturate
    problem.v_scales = {0.25f, 0.5f};
    ExpectRight(problem);
  }
}

TEST_F(AttentionFeaturesTest, OutputsOfOtherTypes) {
  for (const DType out : {DType::kF32, DType::kF8E4M3}) {
    for (const DType dtype : {DType::kF16, DType::kF32}) {
      SCOPED_TRACE(::testing::Message() << Name(dtype) << " to " << Name(out));
      Problem problem = SmallProblem();
      problem.dtype = dtype;
      problem.out_dtype = out;
      if (out == DType::kF8E4M3) problem.out_scale = 0.01f;
      ExpectRight(problem);
    }
  }
}

TEST_F(AttentionFeaturesTest, OrdersOfTheCache) {
  for (const CacheOrder order :
       {CacheOrder::kHnd, CacheOrder::kSplitX, CacheOrder::kSplitBy2, CacheOrder::kRows}) {
    for (const DType kv : {DType::kF16, DType::kF8E4M3}) {
      SCOPED_TRACE(::testing::Message() << static_cast<int>(order) << " " << Name(kv));
      Problem problem = SmallProblem();
      problem.lengths = {5, 40, 530};
      problem.new_tokens = {1, 9, 1};
      problem.decode = {true, false, true};
      problem.order = order;
      problem.kv_dtype = kv;
      problem.segments = 2;
      if (order == CacheOrder::kRows) problem.block_size = 1;
      if (kv == DType::kF8E4M3) problem.k_scales = problem.v_scales = {0.5f, 0.3f};
      ExpectRight(problem);
    }
  }
}

// Where pieces do not fit: single elements.
TEST_F(AttentionFeaturesTest, OddFp8) {
  Problem problem = SmallProblem();
  problem.head_size = 37;
  problem.shift = 3;
  problem.kv_dtype = DType::kF8E4M3;
  problem.fp8_query = true;
  problem.out_dtype = DType::kF8E4M3;
  problem.out_scale = 0.01f;
  ExpectRight(problem);
}

// Semantics 11: neither pages nor neighbours, nor where a chunk begins, nor the order of the cache,
// change a bit.
TEST_F(AttentionFeaturesTest, BitsDoNotDependOnOthers) {
  Problem together = SmallProblem();
  together.kv_dtype = DType::kF8E5M2;
  together.softcap = 20.0f;
  together.alibi = together.sinks = true;
  together.window = 300;
  const absl::StatusOr<Result> all = Solve(backend_, together, {0, 1, 2, 3});
  ASSERT_TRUE(all.ok()) << all.status();
  const int64_t row_bytes = together.heads * together.head_size * SizeOf(together.dtype);
  int64_t row = 0;
  for (int64_t r = 0; r < 4; ++r) {
    for (const CacheOrder order : {CacheOrder::kNhd, CacheOrder::kHnd, CacheOrder::kSplitX}) {
      const int64_t rows = (together.new_tokens[r] + 1) / 2;
      Problem alone = together;
      alone.order = order;
      alone.block_size = 7;
      alone.pages = 77 + r;
      alone.lengths = {together.lengths[r]};
      alone.new_tokens = {rows};
      alone.decode = {together.decode[r]};
      const absl::StatusOr<Result> one = Solve(backend_, alone, {r});
      ASSERT_TRUE(one.ok()) << one.status();
      const int64_t first = row + together.new_tokens[r] - rows;
      ASSERT_EQ(static_cast<int64_t>(one->out.size()), rows * row_bytes);
      EXPECT_TRUE(
          std::equal(one->out.begin(), one->out.end(), all->out.begin() + first * row_bytes))
          << "request " << r << " order " << static_cast<int>(order);
      EXPECT_TRUE(
          std::equal(one->lse.begin(), one->lse.end(), all->lse.begin() + first * together.heads))
          << "request " << r << " order " << static_cast<int>(order);
    }
    row += together.new_tokens[r];
  }
}

}  // namespace
}  // namespace weft::vulkan
