// SPDX-License-Identifier: Apache-2.0
//
// PcpManager with all ranks of a group as threads: what it says and what its device arrays do is
// held against the partition, whose own tests are in core. The device is WEFT_TEST_BACKEND's, for
// which BUILD.bazel has a target each.
#include "collectives/pcp_manager.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "collectives/in_process.h"
#include "collectives/ranks_for_test.h"
#include "core/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/required_backends.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Ints = std::vector<int64_t>;

constexpr int64_t kCapacity = 512;
constexpr int64_t kWidth = 5;  // elements of a hidden row

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

// Kept for all tests: making devices again and again is slow, and drivers do not like it.
const absl::StatusOr<std::shared_ptr<Backend>>& OpenedBackend() {
  static const auto* const backend =
      new absl::StatusOr<std::shared_ptr<Backend>>(Registry::Default().Create(WEFT_TEST_BACKEND));
  return *backend;
}

std::shared_ptr<Backend> TheBackend() { return *OpenedBackend(); }

// Skips where the backend has no device, unless WEFT_REQUIRE_BACKENDS names it. Any error other
// than its absence fails.
class PcpManagerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::Status& status = OpenedBackend().status();
    if (status.ok()) return;
    if (testing::BackendIsRequired(WEFT_TEST_BACKEND) || !absl::IsUnavailable(status))
      GTEST_FAIL() << status;
    GTEST_SKIP() << status;
  }
};

// One rank: its manager, its queue, and memory that it has allocated.
class Rank {
 public:
  Rank(std::shared_ptr<Backend> backend, Communicator* communicator, PcpManagerOptions options)
      : backend_(std::move(backend)), communicator_(communicator) {
    auto queue = backend_->CreateQueue();
    CHECK_OK(queue.status());
    queue_ = *std::move(queue);
    auto manager = PcpManager::Create(backend_, communicator, options);
    CHECK_OK(manager.status());
    manager_ = *std::move(manager);
  }

  PcpManager& manager() { return *manager_; }
  Queue& queue() { return *queue_; }
  int64_t rank() const { return communicator_->rank(); }
  Communicator& communicator() { return *communicator_; }

  template <typename T>
  TensorView Upload(DType dtype, const std::vector<T>& values, std::vector<int64_t> extents) {
    const int64_t bytes = static_cast<int64_t>(values.size() * sizeof(T));
    auto buffer = backend_->Allocate(bytes + 8);
    CHECK_OK(buffer.status());
    CHECK_OK(queue_->CopyFromHost(
        (*buffer)->address(),
        {reinterpret_cast<const uint8_t*>(values.data()), static_cast<size_t>(bytes)}));
    auto view = TensorView::Contiguous((*buffer)->address(), dtype, extents, backend_->device());
    CHECK_OK(view.status());
    buffers_.push_back(*std::move(buffer));
    return *view;
  }

  template <typename T>
  std::vector<T> Download(const TensorView& view) {
    std::vector<T> values(view.num_elements());
    CHECK_OK(queue_->CopyToHost(
        {reinterpret_cast<uint8_t*>(values.data()), values.size() * sizeof(T)}, view.address()));
    CHECK_OK(queue_->Submit());
    CHECK_OK(queue_->Wait(Soon()));
    return values;
  }

 private:
  std::shared_ptr<Backend> backend_;
  Communicator* communicator_;
  std::unique_ptr<Queue> queue_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<PcpManager> manager_;
};

PcpManagerOptions Options() {
  PcpManagerOptions options;
  options.max_padded_tokens = kCapacity;
  options.num_kv_groups = 2;
  options.max_hidden_row_bytes = kWidth * 4;
  return options;
}

void RunRanks(int64_t world_size, const std::function<void(Rank&)>& body) {
  const std::shared_ptr<Backend> backend = TheBackend();
  testing::OnEachRank(world_size, [&](Communicator& communicator) {
    Rank rank(backend, &communicator, Options());
    body(rank);
  });
}

// The step's global arrays: positions and request of each token.
std::pair<Ints, Ints> GlobalArrays(const Ints& n, const Ints& m) {
  std::pair<Ints, Ints> arrays;
  for (size_t i = 0; i < n.size(); ++i) {
    for (int64_t t = 0; t < n[i]; ++t) {
      arrays.first.push_back(m[i] + t);
      arrays.second.push_back(static_cast<int64_t>(i));
    }
  }
  return arrays;
}

// One whole step: partition, slots of both KV groups, hidden states.
void ExpectStep(Rank& rank, const Ints& n, const Ints& m, int64_t threshold) {
  auto want = PcpPartition::BuildFromArrays(n, m, threshold, rank.communicator().world_size());
  ASSERT_TRUE(want.ok()) << want.status();
  const std::vector<PcpRow> rows = want->Rows(rank.rank());
  auto [positions, requests] = GlobalArrays(n, m);
  const size_t size = std::max<size_t>(positions.size(), rows.size());
  positions.resize(size, -7);
  requests.resize(size, -7);
  auto local_total = rank.manager().PartitionInputs(rank.queue(), absl::MakeSpan(positions),
                                                    absl::MakeSpan(requests), n, m, threshold);
  ASSERT_TRUE(local_total.ok()) << local_total.status();
  ASSERT_EQ(*local_total, want->local_total());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(positions[i], rows[i].position) << "row " << i;
    EXPECT_EQ(requests[i], rows[i].request) << "row " << i;
  }

  // Slots: other ones for each group, both alive at once.
  Ints slots[2];
  TensorView padded[2];
  for (int64_t group = 0; group < 2; ++group) {
    for (int64_t t = 0; t < want->num_tokens(); ++t) slots[group].push_back(3000 * group + 9 * t);
    const TensorView view = rank.Upload(DType::kI64, slots[group], {want->num_tokens()});
    auto result = rank.manager().PadSlotMapping(rank.queue(), view, group);
    ASSERT_TRUE(result.ok()) << result.status();
    padded[group] = *result;
  }
  for (int64_t group = 0; group < 2; ++group) {
    EXPECT_EQ(rank.Download<int64_t>(padded[group]), *want->PadSlots(slots[group]));
  }

  // Hidden states: rows that name their token; padding, and rows past local_total, are poison.
  constexpr float kPoison = -12345;
  std::vector<float> hidden;
  for (const PcpRow& row : rows) {
    for (int64_t e = 0; e < kWidth; ++e) {
      hidden.push_back(row.is_padding ? kPoison : static_cast<float>(row.source * 8 + e));
    }
  }
  hidden.insert(hidden.end(), 2 * kWidth, kPoison);
  std::vector<float> restored;
  for (int64_t t = 0; t < want->num_tokens(); ++t) {
    for (int64_t e = 0; e < kWidth; ++e) restored.push_back(static_cast<float>(t * 8 + e));
  }
  const TensorView hidden_view =
      rank.Upload(DType::kF32, hidden, {static_cast<int64_t>(rows.size()) + 2, kWidth});
  const TensorView out = rank.Upload(DType::kF32, std::vector<float>(restored.size(), kPoison),
                                     {want->num_tokens(), kWidth});
  const absl::Status status =
      rank.manager().RestoreHiddenStates(rank.queue(), hidden_view, out, Soon());
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(rank.Download<float>(out), restored);
}

struct Step {
  int64_t world_size;
  int64_t threshold;
  Ints n, m;
};

class PcpManagerStepTest : public PcpManagerTest, public ::testing::WithParamInterface<Step> {};

TEST_P(PcpManagerStepTest, WorkedExample) {
  const Step& step = GetParam();
  RunRanks(step.world_size, [&](Rank& rank) { ExpectStep(rank, step.n, step.m, step.threshold); });
}

// E1 to E6 of pcp_spec.md, a group of one rank, and a step in which nothing is to be done.
INSTANTIATE_TEST_SUITE_P(
    Spec, PcpManagerStepTest,
    ::testing::Values(Step{2, 1, {1, 5, 8}, {10, 0, 0}}, Step{4, 1, {1, 13, 3, 9}, {7, 16, 0, 0}},
                      Step{2, 2, {2, 1, 7, 1}, {5, 9, 4, 0}}, Step{4, 1, {2}, {0}},
                      Step{2, 1, {1}, {0}}, Step{2, 1, {1, 1, 1}, {4, 5, 6}},
                      Step{1, 1, {1, 5, 8}, {10, 0, 0}}, Step{2, 1, {0}, {0}}, Step{3, 1, {}, {}}));

// Many steps through one object: nothing of an earlier, longer step may show.
TEST_F(PcpManagerTest, RandomSteps) {
  for (int64_t world_size : {1, 2, 3, 4}) {
    RunRanks(world_size, [&](Rank& rank) {
      std::mt19937 random(3);  // the same steps on every rank
      for (int step = 0; step < 25 && !::testing::Test::HasFailure(); ++step) {
        Ints n, m;
        for (int i = random() % 4; i > 0; --i) n.push_back(1), m.push_back(1 + random() % 9);
        for (int i = random() % 3; i > 0; --i) {
          n.push_back(2 + random() % 30);
          m.push_back(random() % 2 * 16);
        }
        ExpectStep(rank, n, m, 1);
      }
    });
  }
}

// An engine's own kinds, in any order.
TEST_F(PcpManagerTest, SetPartitionTakesKinds) {
  RunRanks(2, [](Rank& rank) {
    auto partition =
        PcpPartition::Build({{RequestKind::kPrefill, 3, 0}, {RequestKind::kDecode, 1, 8}}, 2);
    ASSERT_TRUE(partition.ok());
    ASSERT_TRUE(rank.manager().SetPartition(rank.queue(), *partition).ok());
    ASSERT_NE(rank.manager().partition(), nullptr);
    const TensorView slots = rank.Upload(DType::kI64, Ints{5, 6, 7, 90}, {4});
    auto padded = rank.manager().PadSlotMapping(rank.queue(), slots);
    ASSERT_TRUE(padded.ok()) << padded.status();
    EXPECT_THAT(rank.Download<int64_t>(*padded), ElementsAre(5, 6, 7, -1, 90, -1));
  });
}

TEST_F(PcpManagerTest, RanksThatDisagreeOnTheStepFindOut) {
  RunRanks(2, [](Rank& rank) {
    const RequestKind kind = rank.rank() == 0 ? RequestKind::kPrefill : RequestKind::kDecode;
    auto partition = PcpPartition::Build({{kind, 2, 8}}, 2);  // two rows on a rank in both
    ASSERT_TRUE(partition.ok());
    ASSERT_TRUE(rank.manager().SetPartition(rank.queue(), *partition).ok());
    const TensorView hidden = rank.Upload(DType::kF32, std::vector<float>(2, 1), {2, 1});
    const TensorView out = rank.Upload(DType::kF32, std::vector<float>(2, 1), {2, 1});
    const absl::Status status =
        rank.manager().RestoreHiddenStates(rank.queue(), hidden, out, Soon());
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(status.message(), HasSubstr("fingerprint"));
  });
}

using PcpManagerErrorTest = PcpManagerTest;

TEST_F(PcpManagerErrorTest, BeforeAnyPartition) {
  RunRanks(1, [](Rank& rank) {
    const TensorView slots = rank.Upload(DType::kI64, Ints{5, 6}, {2});
    auto same = rank.manager().PadSlotMapping(rank.queue(), slots);
    ASSERT_TRUE(same.ok());
    EXPECT_EQ(same->address(), slots.address());
    EXPECT_EQ(same->extent(0), 2);
    const TensorView hidden = rank.Upload(DType::kF32, std::vector<float>{1}, {1, 1});
    EXPECT_EQ(rank.manager().RestoreHiddenStates(rank.queue(), hidden, hidden, Soon()).code(),
              absl::StatusCode::kFailedPrecondition);
  });
}

TEST_F(PcpManagerErrorTest, PartitionInputsChangesNothing) {
  RunRanks(2, [](Rank& rank) {
    auto expect = [&](Ints n, Ints m, int64_t capacity, absl::StatusCode code, const char* text) {
      auto [positions, requests] = GlobalArrays(n, m);
      positions.resize(capacity, -7);
      requests.resize(capacity, -7);
      const Ints before = positions;
      auto result = rank.manager().PartitionInputs(rank.queue(), absl::MakeSpan(positions),
                                                   absl::MakeSpan(requests), n, m, 1);
      EXPECT_EQ(result.status().code(), code) << result.status();
      EXPECT_THAT(result.status().message(), HasSubstr(text));
      EXPECT_EQ(positions, before);
      EXPECT_EQ(rank.manager().partition(), nullptr);
    };
    constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
    // E5: one token in, two rows out.
    expect({1}, {0}, 1, kInvalid, "positions has 1 entries, the step needs 2");
    expect({5, 1}, {0, 4}, 9, kInvalid, "request 1: a decode");
    expect({-1}, {0}, 9, kInvalid, "request 0");
    expect({kCapacity + 1}, {0}, 9, absl::StatusCode::kResourceExhausted, "capacity is 512");
  });
}

TEST_F(PcpManagerErrorTest, NamesWhatDoesNotFit) {
  RunRanks(2, [](Rank& rank) {
    auto other_world = PcpPartition::Build({}, 3);
    EXPECT_EQ(rank.manager().SetPartition(rank.queue(), *other_world).code(),
              absl::StatusCode::kInvalidArgument);
    auto large = PcpPartition::Build({{RequestKind::kPrefill, kCapacity + 4, 0}}, 2);
    EXPECT_EQ(rank.manager().SetPartition(rank.queue(), *large).code(),
              absl::StatusCode::kResourceExhausted);

    auto partition = PcpPartition::Build({{RequestKind::kPrefill, 4, 0}}, 2);
    ASSERT_TRUE(rank.manager().SetPartition(rank.queue(), *partition).ok());
    const TensorView four = rank.Upload(DType::kI64, Ints{1, 2, 3, 4}, {4});
    const TensorView three = rank.Upload(DType::kI64, Ints{1, 2, 3}, {3});
    const TensorView floats = rank.Upload(DType::kF32, std::vector<float>(4), {4});
    for (const auto& [slots, group] : {std::pair(three, 0), {floats, 0}, {four, 2}, {four, -1}}) {
      EXPECT_EQ(rank.manager().PadSlotMapping(rank.queue(), slots, group).status().code(),
                absl::StatusCode::kInvalidArgument);
    }

    auto expect = [&](std::vector<int64_t> hidden, std::vector<int64_t> out, absl::StatusCode code,
                      const char* text) {
      const std::vector<float> values(256);
      const absl::Status status = rank.manager().RestoreHiddenStates(
          rank.queue(), rank.Upload(DType::kF32, values, std::move(hidden)),
          rank.Upload(DType::kF32, values, std::move(out)), Soon());
      EXPECT_EQ(status.code(), code) << status;
      EXPECT_THAT(status.message(), HasSubstr(text));
    };
    constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
    expect({1, kWidth}, {4, kWidth}, kInvalid, "at least 2 rows");
    expect({2, kWidth}, {3, kWidth}, kInvalid, "must have 4 rows");
    expect({2, kWidth}, {4, kWidth - 1}, kInvalid, "out is f32[4, 4]");
    expect({2, kWidth + 1}, {4, kWidth + 1}, absl::StatusCode::kResourceExhausted,
           "max_hidden_row_bytes is 20");
    // All of these were refused before joining: the group is well.
    EXPECT_TRUE(rank.communicator().Barrier(Soon()).ok());
  });
}

TEST_F(PcpManagerErrorTest, Create) {
  auto group = CreateInProcessGroup(1);
  const std::shared_ptr<Backend> backend = TheBackend();
  auto expect_invalid = [&](PcpManagerOptions options, const char* text) {
    const absl::Status status = PcpManager::Create(backend, group[0].get(), options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(text));
  };
  PcpManagerOptions options = Options();
  options.max_padded_tokens = 0;
  expect_invalid(options, "max_padded_tokens is 0");
  options = Options();
  options.num_kv_groups = 0;
  expect_invalid(options, "num_kv_groups is 0");
  options = Options();
  options.max_hidden_row_bytes = -1;
  expect_invalid(options, "max_hidden_row_bytes is -1");
  options.max_hidden_row_bytes = int64_t{1} << 60;
  expect_invalid(options, "do not fit");
  EXPECT_EQ(PcpManager::Create(nullptr, group[0].get(), Options()).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PcpManager::Create(backend, nullptr, Options()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace weft
