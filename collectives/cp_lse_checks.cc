// SPDX-License-Identifier: Apache-2.0
//
// The cp_lse operations with all ranks of a group as threads, against the softmax over all keys in
// float64.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "collectives/cp_lse.h"
#include "collectives/cp_ranks_for_test.h"
#include "core/ops/case_for_test.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kHeads = 12, kSize = 40, kRows = 5;

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

// States of `world` ranks and what they are together. Row 1 has no keys on rank 0, row 2 none
// anywhere.
struct Shards {
  Shards(int64_t world, bool base2, bool with_sinks) {
    std::mt19937 random(static_cast<uint32_t>(world));
    std::normal_distribution<float> normal;
    outs.resize(world);
    lses.resize(world);
    for (int64_t head = 0; head < kHeads; ++head)
      sinks.push_back(with_sinks ? normal(random) : -kInf);
    for (int64_t n = 0; n < world; ++n) {
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t head = 0; head < kHeads; ++head) {
          const bool empty = row == 2 || (row == 1 && n == 0);
          lses[n].push_back(empty ? (head % 3 == 0 ? std::nanf("") : -kInf) : 3 * normal(random));
          // What an empty shard has left may be anything.
          for (int64_t d = 0; d < kSize; ++d)
            outs[n].push_back(empty ? std::nanf("") : normal(random));
        }
      }
    }
    const double unit = base2 ? std::log(2.0) : 1.0;
    for (int64_t row = 0; row < kRows * kHeads; ++row) {
      double sum = 0.0;
      std::vector<double> value(kSize, 0.0);
      for (int64_t n = 0; n < world; ++n) {
        if (!std::isfinite(lses[n][row])) continue;
        const double weight = std::exp(unit * lses[n][row]);
        sum += weight;
        for (int64_t d = 0; d < kSize; ++d) value[d] += weight * outs[n][row * kSize + d];
      }
      const double denominator = sum + std::exp(double{sinks[row % kHeads]});
      for (int64_t d = 0; d < kSize; ++d) out.push_back(sum == 0 ? 0 : value[d] / denominator);
      lse.push_back(sum == 0 ? -kInf : std::log(sum) / unit);
    }
  }

  std::vector<std::vector<float>> outs, lses;
  std::vector<float> sinks;
  std::vector<double> out, lse;
};

CpLseArgs Inputs(DeviceMemory& memory, Communicator& communicator, const Shards& shards,
                 DType dtype) {
  const auto rank = static_cast<size_t>(communicator.rank());
  CpLseArgs args;
  args.out = memory.Upload(dtype, shards.outs[rank], {kRows, kHeads, kSize});
  args.lse = memory.Upload(DType::kF32, shards.lses[rank], {kRows, kHeads});
  const int64_t bytes = *CpLseWorkspaceBytes(communicator.world_size(), kRows, kHeads, kSize);
  args.workspace = memory.Poisoned(DType::kU8, {bytes});
  return args;
}

void Compare(const Shards& shards, int64_t first_head, int64_t heads, DType dtype,
             const std::vector<float>& out, const std::vector<float>& lse) {
  const double tolerance = dtype == DType::kF32 ? 2e-5 : dtype == DType::kF16 ? 4e-3 : 2e-2;
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t at = row * heads + h, all = row * kHeads + first_head + h;
      for (int64_t d = 0; d < kSize; ++d) {
        const double expected = shards.out[all * kSize + d];
        ASSERT_NEAR(out[at * kSize + d], expected, tolerance * std::max(1.0, std::abs(expected)))
            << "row " << row << ", head " << h << ", " << d;
      }
      if (lse.empty()) continue;
      if (std::isinf(shards.lse[all])) {
        ASSERT_EQ(lse[at], -kInf);
      } else {
        ASSERT_NEAR(lse[at], shards.lse[all], 1e-5 * std::max(1.0, std::abs(shards.lse[all])));
      }
    }
  }
}

class CpLseTest : public OpsTest {};

TEST_F(CpLseTest, ReduceScatterIsTheSoftmaxOverAllRanks) {
  for (const int64_t world : {2, 3, 4}) {
    for (const LseBase base : {LseBase::kE, LseBase::k2}) {
      for (const bool sinks : {false, true}) {
        const Shards shards(world, base == LseBase::k2, sinks);
        RunRanks(world, [&](DeviceMemory& memory, Communicator& communicator) {
          CpLseArgs args = Inputs(memory, communicator, shards, DType::kF32);
          args.base = base;
          if (sinks) args.sinks = memory.Upload(DType::kF32, shards.sinks, {kHeads});
          const int64_t heads = kHeads / world;
          args.result = memory.Poisoned(DType::kF32, {kRows, heads, kSize});
          args.result_lse = memory.Poisoned(DType::kF32, {kRows, heads});
          const auto merged =
              CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon());
          ASSERT_TRUE(merged.ok()) << merged.status();
          Compare(shards, communicator.rank() * heads, heads, DType::kF32,
                  memory.Download(merged->out), memory.Download(merged->lse));
        });
      }
    }
  }
}

TEST_F(CpLseTest, AllReduceIsTheSameOnEveryRankAndMayBeInPlace) {
  for (const int64_t world : {2, 3}) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      const Shards shards(world, false, false);
      std::vector<std::vector<float>> results(world);
      RunRanks(world, [&](DeviceMemory& memory, Communicator& communicator) {
        CpLseArgs args = Inputs(memory, communicator, shards, dtype);
        args.result = args.out;
        args.result_lse = memory.Poisoned(DType::kF32, {kRows, kHeads});
        const auto merged = CpLseAllGatherAllReduce(memory.queue(), communicator, args, Soon());
        ASSERT_TRUE(merged.ok()) << merged.status();
        results[communicator.rank()] = memory.Download(merged->out);
        Compare(shards, 0, kHeads, dtype, results[communicator.rank()],
                memory.Download(merged->lse));
      });
      for (const std::vector<float>& result : results) EXPECT_EQ(result, results[0]);
    }
  }
}

// f32 states, rounded once, at the end.
TEST_F(CpLseTest, RoundsF32SumsToTheResult) {
  const Shards shards(3, false, false);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF8E4M3}) {
    for (const bool scatter : {true, false}) {
      RunRanks(3, [&](DeviceMemory& memory, Communicator& communicator) {
        CpLseArgs args = Inputs(memory, communicator, shards, DType::kF32);
        const int64_t heads = scatter ? kHeads / 3 : kHeads;
        args.result = memory.Poisoned(dtype, {kRows, heads, kSize});
        if (dtype == DType::kF8E4M3) args.result_scale = 0.5f;
        const auto merged =
            scatter ? CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon())
                    : CpLseAllGatherAllReduce(memory.queue(), communicator, args, Soon());
        ASSERT_TRUE(merged.ok()) << merged.status();
        std::vector<float> out = memory.Download(merged->out);
        if (dtype != DType::kF8E4M3) {
          Compare(shards, scatter ? communicator.rank() * heads : 0, heads, dtype, out, {});
          return;
        }
        const int64_t first = scatter ? communicator.rank() * heads : 0;
        for (int64_t row = 0; row < kRows; ++row) {
          for (int64_t i = 0; i < heads * kSize; ++i) {
            const double expected = shards.out[(row * kHeads + first) * kSize + i];
            ASSERT_NEAR(0.5 * out[row * heads * kSize + i], expected,
                        std::abs(expected) / 15 + 1e-3);
          }
        }
      });
    }
  }
}

TEST_F(CpLseTest, StridedInputs) {
  const Shards shards(2, false, false);
  RunRanks(2, [&](DeviceMemory& memory, Communicator& communicator) {
    CpLseArgs args = Inputs(memory, communicator, shards, DType::kF32);
    const std::vector<float>& lse = shards.lses[communicator.rank()];
    const std::vector<float>& out = shards.outs[communicator.rank()];
    std::vector<float> lse_t(lse.size()), out_t(out.size());  // [H, B], [H, B, D]
    for (int64_t b = 0; b < kRows; ++b) {
      for (int64_t h = 0; h < kHeads; ++h) {
        lse_t[h * kRows + b] = lse[b * kHeads + h];
        std::copy_n(&out[(b * kHeads + h) * kSize], kSize, &out_t[(h * kRows + b) * kSize]);
      }
    }
    const TensorView lse_memory = memory.Upload(DType::kF32, lse_t, {kHeads, kRows});
    const TensorView out_memory = memory.Upload(DType::kF32, out_t, {kHeads, kRows, kSize});
    args.lse = *TensorView::Create(lse_memory.address(), DType::kF32, {kRows, kHeads}, {1, kRows},
                                   lse_memory.device());
    args.out = *TensorView::Create(out_memory.address(), DType::kF32, {kRows, kHeads, kSize},
                                   {kSize, kRows * kSize, 1}, out_memory.device());
    args.result = memory.Poisoned(DType::kF32, {kRows, kHeads / 2, kSize});
    const auto merged = CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon());
    ASSERT_TRUE(merged.ok()) << merged.status();
    Compare(shards, communicator.rank() * kHeads / 2, kHeads / 2, DType::kF32,
            memory.Download(merged->out), {});
  });
}

// Kernels may leave a finite LSE where a rank has no keys, and in rows of a captured graph that
// belong to no request.
TEST_F(CpLseTest, RowsWithoutKeysHereAreMasked) {
  Shards shards(2, false, false);
  Shards spoiled = shards;
  // Rows 0 and 1 are request 0, row 2 request 1, row 3 request 2; row 4 is nobody's.
  for (int64_t i = 0; i < kHeads; ++i) {
    spoiled.lses[0][1 * kHeads + i] =
        -49994.0f;  // beside rank 1's, of no weight: NaN output must not show
    spoiled.lses[0][3 * kHeads + i] = 7.0f;  // request 2 has no keys on rank 0
  }
  const std::vector<int32_t> start = {0, 2, 3, 4};
  RunRanks(2, [&](DeviceMemory& memory, Communicator& communicator) {
    CpLseArgs args = Inputs(memory, communicator, spoiled, DType::kF32);
    const bool first = communicator.rank() == 0;
    const std::vector<int32_t> lengths = {3, 0, first ? 0 : 2};
    args.seq_lens = lengths;
    args.query_start_loc = start;
    args.result = memory.Poisoned(DType::kF32, {kRows, kHeads / 2, kSize});
    args.result_lse = memory.Poisoned(DType::kF32, {kRows, kHeads / 2});
    const auto merged = CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon());
    ASSERT_TRUE(merged.ok()) << merged.status();
    const std::vector<float> out = memory.Download(merged->out), lse = memory.Download(merged->lse);
    for (int64_t h = 0; h < kHeads / 2; ++h) {
      const int64_t head = communicator.rank() * kHeads / 2 + h;
      EXPECT_EQ(lse[3 * kHeads / 2 + h], spoiled.lses[1][3 * kHeads + head]);
      EXPECT_EQ(lse[2 * kHeads / 2 + h], -kInf);
      EXPECT_EQ(lse[4 * kHeads / 2 + h], -kInf);
      EXPECT_EQ(out[(3 * kHeads / 2 + h) * kSize], spoiled.outs[1][(3 * kHeads + head) * kSize]);
      EXPECT_EQ(out[(4 * kHeads / 2 + h) * kSize], 0.0f);
    }
  });
}

TEST_F(CpLseTest, AGroupOfOneReturnsItsInputsWithoutCommunication) {
  const Shards shards(1, false, true);
  RunRanks(1, [&](DeviceMemory& memory, Communicator& communicator) {
    CpLseArgs args = Inputs(memory, communicator, shards, DType::kF32);
    args.workspace = {};
    for (const bool scatter : {true, false}) {
      const auto merged =
          scatter ? CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon())
                  : CpLseAllGatherAllReduce(memory.queue(), communicator, args, Soon());
      ASSERT_TRUE(merged.ok()) << merged.status();
      EXPECT_EQ(merged->out.address(), args.out.address());
      EXPECT_EQ(merged->lse.address(), args.lse.address());
    }
    EXPECT_EQ(communicator.stats(CollectiveKind::kAllGather).calls, 0);
    EXPECT_EQ(communicator.stats(CollectiveKind::kReduceScatter).calls, 0);
    EXPECT_EQ(communicator.stats(CollectiveKind::kAllReduce).calls, 0);
    // Asked for more, it does more: sinks, and another dtype.
    args = Inputs(memory, communicator, shards, DType::kF32);
    args.sinks = memory.Upload(DType::kF32, shards.sinks, {kHeads});
    args.result = memory.Poisoned(DType::kBF16, {kRows, kHeads, kSize});
    const auto merged = CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon());
    ASSERT_TRUE(merged.ok()) << merged.status();
    Compare(shards, 0, kHeads, DType::kBF16, memory.Download(merged->out), {});
  });
}

TEST_F(CpLseTest, BadArgumentsAreRefusedBeforeAnyoneIsMet) {
  const Shards shards(5, false, false);
  RunRanks(5, [&](DeviceMemory& memory, Communicator& communicator) {
    const CpLseArgs good = Inputs(memory, communicator, shards, DType::kF32);
    const auto scatter = [&](const CpLseArgs& args) {
      return CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon()).status();
    };
    const auto reduce = [&](const CpLseArgs& args) {
      return CpLseAllGatherAllReduce(memory.queue(), communicator, args, Soon()).status();
    };
    EXPECT_THAT(scatter(good).message(), HasSubstr("12 heads cannot be shared by 5 ranks"));
    CpLseArgs args = good;
    EXPECT_THAT(reduce(args).message(), HasSubstr("cp_lse_ag_out_ar: result is"));
    args.result = args.out;
    args.workspace =
        *TensorView::Contiguous(good.workspace.address(), DType::kU8,
                                {good.workspace.extent(0) - 1}, good.workspace.device());
    EXPECT_EQ(reduce(args).code(), absl::StatusCode::kResourceExhausted);
    args.workspace = good.workspace;
    const std::vector<int32_t> lengths = {1, 2}, start = {0, 3, 6};
    args.seq_lens = lengths;
    EXPECT_THAT(reduce(args).message(), HasSubstr("query_start_loc has 0 entries for 2 seq_lens"));
    args.query_start_loc = start;
    EXPECT_THAT(reduce(args).message(), HasSubstr("query_start_loc[2] is 6"));
    args.seq_lens = args.query_start_loc = {};
    args.lse = memory.Poisoned(DType::kF16, {kRows, kHeads});
    EXPECT_THAT(reduce(args).message(), HasSubstr("lse is f16[5, 12]"));
    args.lse = good.lse;
    args.result_lse = good.lse;
    EXPECT_THAT(reduce(args).message(), HasSubstr("result_lse overlaps lse"));
    args.result_lse = {};
    args.sinks = memory.Poisoned(DType::kF32, {kHeads - 1});
    EXPECT_THAT(reduce(args).message(), HasSubstr("sinks is f32[11]"));
    EXPECT_TRUE(communicator.status().ok());
    EXPECT_EQ(communicator.stats(CollectiveKind::kAllGather).calls, 0);
    memory.Run();
    ASSERT_TRUE(communicator.Barrier(Soon()).ok());
  });
}

TEST_F(CpLseTest, AFailedGroupStaysFailed) {
  const Shards shards(2, false, false);
  RunRanks(2, [&](DeviceMemory& memory, Communicator& communicator) {
    CpLseArgs args = Inputs(memory, communicator, shards, DType::kF32);
    args.result = args.out;
    if (communicator.rank() == 1) {
      communicator.Abort(absl::UnavailableError("the lights went out"));
    }
    absl::Status first =
        CpLseAllGatherAllReduce(memory.queue(), communicator, args, Soon()).status();
    EXPECT_EQ(first.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(first.message(), HasSubstr("the lights went out"));
    EXPECT_EQ(CpLseAllGatherAllReduce(memory.queue(), communicator, args, Soon()).status(), first);
    args.result = memory.Poisoned(DType::kF32, {kRows, kHeads / 2, kSize});
    EXPECT_EQ(CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon()).status(),
              first);
  });
}

// A rank with nothing to do takes part like any other.
TEST_F(CpLseTest, NoRows) {
  RunRanks(2, [](DeviceMemory& memory, Communicator& communicator) {
    CpLseArgs args;
    args.out = memory.Poisoned(DType::kF32, {0, 4, 8});
    args.lse = memory.Poisoned(DType::kF32, {0, 4});
    args.result = memory.Poisoned(DType::kBF16, {0, 2, 8});
    args.workspace = memory.Poisoned(DType::kU8, {*CpLseWorkspaceBytes(2, 0, 4, 8)});
    const auto merged = CpLseAllGatherReduceScatter(memory.queue(), communicator, args, Soon());
    ASSERT_TRUE(merged.ok()) << merged.status();
    EXPECT_EQ(communicator.stats(CollectiveKind::kReduceScatter).calls, 1);
  });
}

TEST_F(CpLseTest, QueriesOfAllHeads) {
  for (const int64_t world : {1, 2, 3}) {
    RunRanks(world, [&](DeviceMemory& memory, Communicator& communicator) {
      std::vector<float> mine;
      for (int64_t i = 0; i < kRows * 2 * 3; ++i)
        mine.push_back(static_cast<float>(100 * communicator.rank() + i));
      const TensorView local = memory.Upload(DType::kF16, mine, {kRows, 2, 3});
      const TensorView all = memory.Poisoned(DType::kF16, {kRows, 2 * world, 3});
      const TensorView workspace =
          memory.Poisoned(DType::kU8, {*AllGatherHeadsWorkspaceBytes(world, local)});
      const auto gathered =
          AllGatherHeads(memory.queue(), communicator, local, all, workspace, Soon());
      ASSERT_TRUE(gathered.ok()) << gathered.status();
      EXPECT_EQ(gathered->address(), world == 1 ? local.address() : all.address());
      const std::vector<float> got = memory.Download(*gathered);
      for (int64_t b = 0; b < kRows; ++b) {
        for (int64_t h = 0; h < 2 * world; ++h) {
          for (int64_t d = 0; d < 3; ++d) {
            EXPECT_EQ(got[(b * 2 * world + h) * 3 + d], 100 * (h / 2) + (b * 2 + h % 2) * 3 + d);
          }
        }
      }
    });
  }
}

}  // namespace
}  // namespace weft::testing
