// SPDX-License-Identifier: Apache-2.0
//
// What the operations of an in-process group move. What happens when they fail is in
// in_process_failure_test.cc.
#include "collectives/in_process.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "collectives/group_for_test.h"
#include "core/dtype.h"
#include "gtest/gtest.h"

namespace weft::testing {
namespace {

using Bytes = std::vector<uint8_t>;

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

// What rank `rank` gives: values whose sums are exact in every type, different for each element.
double ValueAt(int64_t rank, int64_t i) { return static_cast<double>((i * 7 + rank * 3) % 31) - 9; }

void Store(DType dtype, uint8_t* data, int64_t i, double value) {
  if (dtype == DType::kI32) {
    const auto integer = static_cast<int32_t>(value);
    std::memcpy(data + i * 4, &integer, 4);
  } else if (dtype == DType::kI64) {
    // Beyond 32 bits, so that a narrow sum shows.
    const int64_t integer = static_cast<int64_t>(value) * (int64_t{1} << 33);
    std::memcpy(data + i * 8, &integer, 8);
  } else {
    StoreFloat(dtype, data, i, static_cast<float>(value));
  }
}

Bytes Contribution(DType dtype, int64_t rank, int64_t count) {
  Bytes bytes(count * SizeOf(dtype));
  for (int64_t i = 0; i < count; ++i) Store(dtype, bytes.data(), i, ValueAt(rank, i));
  return bytes;
}

Bytes Sum(DType dtype, int64_t world_size, int64_t count) {
  Bytes bytes(count * SizeOf(dtype));
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (int64_t rank = 0; rank < world_size; ++rank) sum += ValueAt(rank, i);
    Store(dtype, bytes.data(), i, sum);
  }
  return bytes;
}

Bytes Read(const TensorView& view) {
  const uint8_t* data = FakeDevice::Bytes(view);
  return Bytes(data, data + view.span_bytes());
}

void Write(const TensorView& view, const Bytes& bytes) {
  if (!bytes.empty()) std::memcpy(FakeDevice::Bytes(view), bytes.data(), bytes.size());
}

// World size, type, rows of a rank, one device for all.
using Case = std::tuple<int64_t, DType, int64_t, bool>;

class CollectiveTest : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr int64_t kWidth = 3;  // elements of a row

  int64_t world() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }
  int64_t rows() const { return std::get<2>(GetParam()); }
  int64_t count() const { return rows() * kWidth; }
  int64_t bytes() const { return count() * SizeOf(dtype()); }

  TestGroup group_{world(), std::get<3>(GetParam())};
};

TEST_P(CollectiveTest, AllGather) {
  Bytes want;
  for (int64_t rank = 0; rank < world(); ++rank) {
    const Bytes part = Contribution(dtype(), rank, count());
    want.insert(want.end(), part.begin(), part.end());
  }
  group_.Run([&](TestRank& rank) {
    const TensorView send = rank.device->NewView(dtype(), {rows(), kWidth});
    const TensorView receive = rank.device->NewView(dtype(), {world() * rows(), kWidth});
    // On the queue, not in memory: what the call gives must be what earlier work produced.
    const Bytes mine = Contribution(dtype(), rank.rank, count());
    ASSERT_TRUE(rank.queue->CopyFromHost(send.address(), mine).ok());
    const absl::Status status = rank.communicator->AllGather(*rank.queue, send, receive, Soon());
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Read(receive), want);
    EXPECT_EQ(Read(send), mine);
    EXPECT_EQ(rank.communicator->stats(CollectiveKind::kAllGather).calls, 1);
    EXPECT_EQ(rank.communicator->stats(CollectiveKind::kAllGather).bytes_received,
              (world() - 1) * bytes());
    EXPECT_EQ(rank.communicator->bytes_received(), (world() - 1) * bytes());
  });
}

TEST_P(CollectiveTest, AllGatherInPlace) {
  Bytes want;
  for (int64_t rank = 0; rank < world(); ++rank) {
    const Bytes part = Contribution(dtype(), rank, count());
    want.insert(want.end(), part.begin(), part.end());
  }
  group_.Run([&](TestRank& rank) {
    const TensorView receive = rank.device->NewView(dtype(), {world() * rows(), kWidth});
    const TensorView send =
        rank.device->View(receive.address() + rank.rank * bytes(), dtype(), {rows(), kWidth});
    Write(send, Contribution(dtype(), rank.rank, count()));
    const absl::Status status = rank.communicator->AllGather(*rank.queue, send, receive, Soon());
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Read(receive), want);
  });
}

TEST_P(CollectiveTest, ReduceScatter) {
  const Bytes sum = Sum(dtype(), world(), world() * count());
  for (const bool in_place : {false, true}) {
    group_.Run([&](TestRank& rank) {
      const TensorView send = rank.device->NewView(dtype(), {world() * rows(), kWidth});
      const TensorView receive = in_place ? rank.device->View(send.address() + rank.rank * bytes(),
                                                              dtype(), {rows(), kWidth})
                                          : rank.device->NewView(dtype(), {rows(), kWidth});
      Write(send, Contribution(dtype(), rank.rank, world() * count()));
      const absl::Status status =
          rank.communicator->ReduceScatter(*rank.queue, send, receive, Soon());
      ASSERT_TRUE(status.ok()) << status;
      const auto begin = sum.begin() + rank.rank * bytes();
      EXPECT_EQ(Read(receive), Bytes(begin, begin + bytes())) << "in place: " << in_place;
    });
  }
  EXPECT_EQ(group_[0].communicator->bytes_received(), 2 * (world() - 1) * bytes());
}

TEST_P(CollectiveTest, AllReduce) {
  const Bytes sum = Sum(dtype(), world(), count());
  for (const bool in_place : {false, true}) {
    group_.Run([&](TestRank& rank) {
      const TensorView send = rank.device->NewView(dtype(), {rows(), kWidth});
      const TensorView receive = in_place ? send : rank.device->NewView(dtype(), {rows(), kWidth});
      Write(send, Contribution(dtype(), rank.rank, count()));
      const absl::Status status = rank.communicator->AllReduce(*rank.queue, send, receive, Soon());
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(Read(receive), sum) << "in place: " << in_place;
    });
  }
  EXPECT_EQ(group_[0].communicator->bytes_received(), 2 * (world() - 1) * bytes());
}

TEST_P(CollectiveTest, Broadcast) {
  for (int64_t root = 0; root < world(); ++root) {
    group_.Run([&](TestRank& rank) {
      const TensorView buffer = rank.device->NewView(dtype(), {rows(), kWidth});
      Write(buffer, Contribution(dtype(), rank.rank, count()));
      const absl::Status status = rank.communicator->Broadcast(*rank.queue, buffer, root, Soon());
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(Read(buffer), Contribution(dtype(), root, count())) << "root " << root;
    });
  }
  for (int64_t rank = 0; rank < world(); ++rank) {
    EXPECT_EQ(group_[rank].communicator->bytes_received(), (world() - 1) * bytes());
  }
}

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  return std::to_string(std::get<0>(info.param)) + "ranks_" +
         std::string(Name(std::get<1>(info.param))) + "_" +
         std::to_string(std::get<2>(info.param)) + "rows_" +
         (std::get<3>(info.param) ? "one_device" : "own_devices");
}

INSTANTIATE_TEST_SUITE_P(All, CollectiveTest,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4, 8),
                                            ::testing::Values(DType::kF32, DType::kF16,
                                                              DType::kBF16, DType::kI32,
                                                              DType::kI64),
                                            ::testing::Values(0, 1, 17), ::testing::Bool()),
                         CaseName);

TEST(InProcessTest, BarrierWaitsForAll) {
  TestGroup group(4, true);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::atomic<int> arrived = 0;
    group.Run([&](TestRank& rank) {
      absl::SleepFor(absl::Microseconds(200 * ((rank.rank + repeat) % 4)));
      ++arrived;
      ASSERT_TRUE(rank.communicator->Barrier(Soon()).ok());
      EXPECT_EQ(arrived, 4);
    });
  }
  EXPECT_EQ(group[0].communicator->stats(CollectiveKind::kBarrier).calls, 20);
  EXPECT_EQ(group[0].communicator->bytes_received(), 0);
}

// `send` belongs to the caller again when the call returns, however slow the peers' devices are.
TEST(InProcessTest, SendMayBeOverwrittenOnReturn) {
  for (const bool one_device : {true, false}) {
    TestGroup group(4, one_device);
    group.Run([&](TestRank& rank) {
      rank.queue->delay = absl::Milliseconds(rank.rank == 0 ? 0 : 3 * rank.rank);
      const TensorView send = rank.device->NewView(DType::kI32, {64});
      const TensorView receive = rank.device->NewView(DType::kI32, {4 * 64});
      for (int step = 0; step < 10; ++step) {
        Write(send, Contribution(DType::kI32, rank.rank + step, 64));
        const absl::Status status =
            rank.communicator->AllGather(*rank.queue, send, receive, Soon());
        Write(send, Bytes(64 * 4, 0xdd));
        ASSERT_TRUE(status.ok()) << status;
        for (int64_t peer = 0; peer < 4; ++peer) {
          const Bytes want = Contribution(DType::kI32, peer + step, 64);
          EXPECT_EQ(std::memcmp(FakeDevice::Bytes(receive) + peer * 256, want.data(), 256), 0)
              << "rank " << rank.rank << ", of rank " << peer << ", step " << step;
        }
      }
    });
  }
}

// Ranks 0 and 1 share a device, rank 2 has its own: nobody may take the short way.
TEST(InProcessTest, SomeRanksShareADevice) {
  TestGroup group(3, false);
  group[1].device = group[0].device;
  group[1].queue = std::make_unique<FakeQueue>(*group[0].device);
  group.Run([&](TestRank& rank) {
    const TensorView send = rank.device->NewView(DType::kI32, {5});
    const TensorView receive = rank.device->NewView(DType::kI32, {15});
    Write(send, Contribution(DType::kI32, rank.rank, 5));
    const absl::Status status = rank.communicator->AllGather(*rank.queue, send, receive, Soon());
    ASSERT_TRUE(status.ok()) << status;
    const Bytes last = Contribution(DType::kI32, 2, 5);
    EXPECT_EQ(std::memcmp(FakeDevice::Bytes(receive) + 40, last.data(), 20), 0);
  });
}

TEST(InProcessTest, TwoGroupsInterleaved) {
  constexpr int64_t kWorld = 3;
  TestGroup group(kWorld, true);
  auto others = CreateInProcessGroup(kWorld);
  group.Run([&](TestRank& rank) {
    Communicator& other = *others[rank.rank];
    const TensorView a = rank.device->NewView(DType::kI64, {1});
    const TensorView b = rank.device->NewView(DType::kI64, {1});
    for (int64_t step = 0; step < 50; ++step) {
      const int64_t one = step + rank.rank, two = 1000 * step + rank.rank;
      std::memcpy(FakeDevice::Bytes(a), &one, 8);
      std::memcpy(FakeDevice::Bytes(b), &two, 8);
      rank.communicator->SetStep(step, 7);
      ASSERT_TRUE(rank.communicator->AllReduce(*rank.queue, a, a, Soon()).ok());
      ASSERT_TRUE(other.AllReduce(*rank.queue, b, b, Soon()).ok());
      ASSERT_TRUE(other.Broadcast(*rank.queue, a, step % kWorld, Soon()).ok());
      int64_t sum = 0;
      std::memcpy(&sum, FakeDevice::Bytes(a), 8);
      EXPECT_EQ(sum, 3 * step + 3);
      std::memcpy(&sum, FakeDevice::Bytes(b), 8);
      EXPECT_EQ(sum, 3000 * step + 3);
    }
  });
}

// Thousands of calls without a pause between them: a slow thread must not miss a round.
TEST(InProcessTest, ManyRoundsOfRandomCalls) {
  constexpr int64_t kWorld = 4;
  TestGroup group(kWorld, true);
  group.Run([&](TestRank& rank) {
    std::mt19937 random(5);  // the same calls on every rank
    const TensorView part = rank.device->NewView(DType::kF32, {8});
    const TensorView whole = rank.device->NewView(DType::kF32, {8 * kWorld});
    std::memset(FakeDevice::Bytes(part), 0, 32);
    std::memset(FakeDevice::Bytes(whole), 0, 32 * kWorld);
    for (int step = 0; step < 1500; ++step) {
      Communicator& group_end = *rank.communicator;
      absl::Status status;
      switch (random() % 5) {
        case 0:
          status = group_end.AllGather(*rank.queue, part, whole, Soon());
          break;
        case 1:
          status = group_end.ReduceScatter(*rank.queue, whole, part, Soon());
          break;
        case 2:
          status = group_end.AllReduce(*rank.queue, part, part, Soon());
          break;
        case 3:
          status = group_end.Broadcast(*rank.queue, whole, random() % kWorld, Soon());
          break;
        default:
          status = group_end.Barrier(Soon());
      }
      ASSERT_TRUE(status.ok()) << status;
    }
  });
}

TEST(InProcessTest, CreateAndDestroy) {
  EXPECT_TRUE(CreateInProcessGroup(0).empty());
  EXPECT_TRUE(CreateInProcessGroup(-1).empty());
  for (int cycle = 0; cycle < 200; ++cycle) {
    TestGroup group(1 + cycle % 4, cycle % 2 == 0);
    if (cycle % 3 == 0) continue;  // never used
    group.Run([&](TestRank& rank) {
      const TensorView value = rank.device->NewView(DType::kI32, {1});
      EXPECT_TRUE(rank.communicator->Broadcast(*rank.queue, value, 0, Soon()).ok());
      // In the thread, while others may still be on their way out of the call.
      rank.communicator = nullptr;
    });
  }
}

}  // namespace
}  // namespace weft::testing
