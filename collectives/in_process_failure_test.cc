// SPDX-License-Identifier: Apache-2.0
//
// How the calls of an in-process group fail: everywhere, with the same error, in bounded time.
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "collectives/group_for_test.h"
#include "collectives/in_process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

absl::Time In(int64_t milliseconds) { return absl::Now() + absl::Milliseconds(milliseconds); }
absl::Time Soon() { return In(60'000); }

absl::Status GatherSome(TestRank& rank, int64_t elements, absl::Time deadline) {
  const TensorView send = rank.device->NewView(DType::kI32, {elements});
  const TensorView receive =
      rank.device->NewView(DType::kI32, {elements * rank.communicator->world_size()});
  return rank.communicator->AllGather(*rank.queue, send, receive, deadline);
}

// Runs a call on every rank and returns its error, which must be the same everywhere and stay.
absl::Status ErrorOfAll(TestGroup& group, const std::function<absl::Status(TestRank&)>& call) {
  std::vector<absl::Status> first(group.size()), later(group.size());
  group.Run([&](TestRank& rank) { first[rank.rank] = call(rank); });
  group.Run([&](TestRank& rank) { later[rank.rank] = rank.communicator->Barrier(In(10)); });
  for (int64_t rank = 0; rank < group.size(); ++rank) {
    EXPECT_FALSE(first[rank].ok()) << "rank " << rank;
    EXPECT_EQ(first[rank], first[0]) << "rank " << rank;
    EXPECT_EQ(later[rank], first[0]) << "rank " << rank;
    EXPECT_EQ(group[rank].communicator->status(), first[0]) << "rank " << rank;
  }
  return first[0];
}

struct Disagreement {
  std::string name;
  std::function<absl::Status(TestRank&)>
      odd;                         // what rank 2 does; the others gather 4 i32 in step 5
  std::vector<std::string> words;  // in the message
};

class DisagreementTest : public ::testing::TestWithParam<Disagreement> {};

TEST_P(DisagreementTest, FailsOnAllRanksBeforeDataMoves) {
  for (const bool one_device : {true, false}) {
    TestGroup group(4, one_device);
    // Some calls that agree first.
    group.Run([](TestRank& rank) {
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(rank.communicator->Barrier(Soon()).ok());
    });
    std::vector<TensorView> received(4);
    const absl::Status error = ErrorOfAll(group, [&](TestRank& rank) {
      rank.communicator->SetStep(5, 0xabc);
      if (rank.rank == 2) return GetParam().odd(rank);
      const TensorView send = rank.device->NewView(DType::kI32, {4});
      std::memset(FakeDevice::Bytes(send), 1, 16);
      received[rank.rank] = rank.device->NewView(DType::kI32, {16});
      return rank.communicator->AllGather(*rank.queue, send, received[rank.rank], Soon());
    });
    EXPECT_EQ(error.code(), absl::StatusCode::kFailedPrecondition) << error;
    EXPECT_THAT(error.message(), HasSubstr("ranks 0, 1, 3 come with all_gather #4 of 4 i32 (16 "
                                           "bytes) in step 5 with fingerprint 0xabc"));
    EXPECT_THAT(error.message(), HasSubstr("rank 2 comes with"));
    for (const std::string& word : GetParam().words) {
      EXPECT_THAT(error.message(), HasSubstr(word));
    }
    for (int64_t rank : {0, 1, 3}) {
      const uint8_t* data = FakeDevice::Bytes(received[rank]);
      for (int i = 0; i < 64; ++i) ASSERT_EQ(data[i], 0xee) << "byte " << i << ", rank " << rank;
      EXPECT_EQ(group[rank].communicator->bytes_received(), 0);
    }
  }
}

absl::Status GatherAs(TestRank& rank, DType dtype, int64_t elements) {
  const TensorView send = rank.device->NewView(dtype, {elements});
  const TensorView receive = rank.device->NewView(dtype, {4 * elements});
  return rank.communicator->AllGather(*rank.queue, send, receive, Soon());
}

INSTANTIATE_TEST_SUITE_P(
    All, DisagreementTest,
    ::testing::Values(
        Disagreement{"Kind",
                     [](TestRank& rank) {
                       const TensorView view = rank.device->NewView(DType::kI32, {4});
                       return rank.communicator->AllReduce(*rank.queue, view, view, Soon());
                     },
                     {"all_reduce #4"}},
        Disagreement{"Barrier",
                     [](TestRank& rank) { return rank.communicator->Barrier(Soon()); },
                     {"barrier #4"}},
        Disagreement{"Bytes",
                     [](TestRank& rank) { return GatherAs(rank, DType::kI32, 5); },
                     {"5 i32 (20 bytes)"}},
        Disagreement{"NoBytes",
                     [](TestRank& rank) { return GatherAs(rank, DType::kI32, 0); },
                     {"0 i32 (0 bytes)"}},
        Disagreement{
            "DType", [](TestRank& rank) { return GatherAs(rank, DType::kF32, 4); }, {"4 f32"}},
        Disagreement{"Step",
                     [](TestRank& rank) {
                       rank.communicator->SetStep(6, 0xabc);
                       return GatherAs(rank, DType::kI32, 4);
                     },
                     {"in step 6"}},
        Disagreement{"Fingerprint",
                     [](TestRank& rank) {
                       rank.communicator->SetStep(5, 0xabd);
                       return GatherAs(rank, DType::kI32, 4);
                     },
                     {"fingerprint 0xabd"}}),
    [](const auto& info) { return info.param.name; });

TEST(InProcessFailureTest, DisagreementOnTheRoot) {
  TestGroup group(2, true);
  const absl::Status error = ErrorOfAll(group, [](TestRank& rank) {
    const TensorView view = rank.device->NewView(DType::kI32, {4});
    return rank.communicator->Broadcast(*rank.queue, view, rank.rank, Soon());
  });
  EXPECT_EQ(error.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("from rank 0"), HasSubstr("from rank 1")));
}

TEST(InProcessFailureTest, ARankThatNeverComes) {
  TestGroup group(4, true);
  group.Run([](TestRank& rank) { ASSERT_TRUE(GatherSome(rank, 3, Soon()).ok()); });
  std::vector<absl::Status> errors(4);
  const absl::Time start = absl::Now();
  group.Run([&](TestRank& rank) {
    if (rank.rank == 1 || rank.rank == 3) return;
    rank.communicator->SetStep(17, 0);
    errors[rank.rank] = GatherSome(rank, 3, start + absl::Milliseconds(150));
  });
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(150));
  EXPECT_LE(absl::Now() - start, absl::Milliseconds(1150));
  EXPECT_EQ(errors[0].code(), absl::StatusCode::kDeadlineExceeded) << errors[0];
  EXPECT_EQ(errors[2], errors[0]);
  EXPECT_THAT(errors[0].message(), AllOf(HasSubstr("ranks 1, 3 of 4"), HasSubstr("all_gather #2"),
                                         HasSubstr("step 17")));
  // They come at last: the same error, at once.
  errors[1] = GatherSome(group[1], 3, Soon());
  errors[3] = group[3].communicator->Barrier(Soon());
  EXPECT_EQ(errors[1], errors[0]);
  EXPECT_EQ(errors[3], errors[0]);
}

TEST(InProcessFailureTest, ARankThatHasLeft) {
  TestGroup group(3, true);
  group[1].communicator = nullptr;
  std::vector<absl::Status> errors(3);
  const absl::Time start = absl::Now();
  group.Run([&](TestRank& rank) {
    if (rank.rank != 1) errors[rank.rank] = GatherSome(rank, 3, Soon());
  });
  EXPECT_LE(absl::Now() - start, absl::Seconds(10));  // not the deadline's 60
  EXPECT_EQ(errors[0].code(), absl::StatusCode::kAborted) << errors[0];
  EXPECT_EQ(errors[2], errors[0]);
  EXPECT_THAT(errors[0].message(), HasSubstr("rank 1 has left"));
}

TEST(InProcessFailureTest, ARankThatLeavesWhileOthersWait) {
  TestGroup group(2, true);
  const absl::Time start = absl::Now();
  group.Run([&](TestRank& rank) {
    if (rank.rank == 1) {
      absl::SleepFor(absl::Milliseconds(50));
      rank.communicator = nullptr;
      return;
    }
    EXPECT_EQ(rank.communicator->Barrier(Soon()).code(), absl::StatusCode::kAborted);
  });
  EXPECT_LE(absl::Now() - start, absl::Seconds(10));
}

TEST(InProcessFailureTest, AbortWakesAllWithItsReason) {
  TestGroup group(3, true);
  const absl::Status error = ErrorOfAll(group, [](TestRank& rank) {
    if (rank.rank != 2) return rank.communicator->Barrier(Soon());
    absl::SleepFor(absl::Milliseconds(30));
    rank.communicator->Abort(absl::DataLossError("a page was lost"));
    rank.communicator->Abort(absl::InternalError("the first reason stays"));
    return rank.communicator->Barrier(Soon());
  });
  EXPECT_EQ(error.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error.message(), "rank 2 aborted the group: a page was lost");
}

TEST(InProcessFailureTest, AbortFromAnotherThread) {
  TestGroup group(2, true);
  std::thread watchdog([&] {
    absl::SleepFor(absl::Milliseconds(30));
    group[0].communicator->Abort(absl::OkStatus());
  });
  const absl::Status error = group[0].communicator->Barrier(Soon());
  watchdog.join();
  EXPECT_EQ(error.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(group[1].communicator->Barrier(Soon()), error);
}

// Before the ranks have met, while it copies (or brings its data to the host), and while it takes
// them from there.
TEST(InProcessFailureTest, ADeviceThatFails) {
  for (const bool one_device : {true, false}) {
    for (int64_t submits : {0, 1, 2}) {
      if (one_device && submits == 2) continue;  // two submissions are all there are
      TestGroup group(3, one_device);
      group[1].queue->failure = absl::UnavailableError("device lost");
      group[1].queue->submits_before_failure = submits;
      std::vector<absl::Status> errors(3);
      group.Run([&](TestRank& rank) {
        errors[rank.rank] = GatherSome(rank, 3, Soon());
        // Those who had all they need before the device failed learn it from the next call.
        if (errors[rank.rank].ok()) errors[rank.rank] = rank.communicator->Barrier(Soon());
      });
      EXPECT_EQ(errors[0].code(), absl::StatusCode::kUnavailable);
      EXPECT_THAT(errors[0].message(),
                  AllOf(HasSubstr("rank 1"), HasSubstr("all_gather #1"), HasSubstr("device lost")));
      EXPECT_EQ(errors[1], errors[0]);
      EXPECT_EQ(errors[2], errors[0]);
    }
  }
}

// What the queue holds from before the call never ends: the others learn it too.
TEST(InProcessFailureTest, ADeviceThatHangsBeforeTheCall) {
  TestGroup group(3, true);
  const TensorView view = group[1].device->NewView(DType::kI32, {1});
  const std::vector<uint8_t> data(4);
  ASSERT_TRUE(group[1].queue->CopyFromHost(view.address(), data).ok());
  group[1].queue->hangs = true;
  const absl::Status error = ErrorOfAll(
      group, [](TestRank& rank) { return GatherSome(rank, 3, rank.rank == 1 ? In(100) : Soon()); });
  EXPECT_EQ(error.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("rank 1: the queue failed before all_gather #1"),
                                     HasSubstr("hangs")));
}

// Rank 1's device hangs in the middle of the call, and goes on long after the deadline of both.
absl::Status GatherWithALateDevice(bool one_device,
                                   const std::function<void(TestRank&, bool released)>& on_return) {
  TestGroup group(2, one_device);
  group[1].queue->hangs = true;
  std::atomic<bool> released = false;
  std::thread release;
  const absl::Status error = ErrorOfAll(group, [&](TestRank& rank) {
    // From here on both are near the call, however busy the machine is.
    EXPECT_TRUE(rank.communicator->Barrier(Soon()).ok());
    if (rank.rank == 1) {
      release = std::thread([&] {
        absl::SleepFor(absl::Milliseconds(800));
        released = true;
        group[1].queue->hangs = false;
      });
    }
    const absl::Status status = GatherSome(rank, 3, In(200));
    on_return(rank, released);
    return status;
  });
  release.join();
  return error;
}

// Rank 1 reads rank 0's memory: rank 0 must not get it back before that ends.
TEST(InProcessFailureTest, MemoryIsNotGivenBackWhileAPeerReadsIt) {
  const absl::Status error = GatherWithALateDevice(
      true, [](TestRank& rank, bool released) { EXPECT_TRUE(released) << "rank " << rank.rank; });
  EXPECT_EQ(error.code(), absl::StatusCode::kDeadlineExceeded) << error;
}

// Through the host nobody reads another's memory, and nobody waits for a hanging peer.
TEST(InProcessFailureTest, HangingDevicesThroughTheHost) {
  const absl::Status error = GatherWithALateDevice(false, [](TestRank& rank, bool released) {
    EXPECT_EQ(released, rank.rank == 1) << "rank " << rank.rank;
  });
  EXPECT_EQ(error.code(), absl::StatusCode::kDeadlineExceeded) << error;
}

// A refused call has not happened: the same communicators go on.
TEST(ArgumentTest, AreCheckedBeforeTheCallAndDoNotStick) {
  TestGroup group(2, true);
  FakeDevice& device = *group[0].device;
  Communicator& communicator = *group[0].communicator;
  Queue& queue = *group[0].queue;
  const TensorView two = device.NewView(DType::kF32, {2, 3});
  const TensorView four = device.NewView(DType::kF32, {4, 3});
  const TensorView four_f16 = device.NewView(DType::kF16, {4, 3});
  const TensorView flat = device.NewView(DType::kF32, {12});
  const TensorView wide = device.NewView(DType::kF32, {4, 4});
  const TensorView strided =
      *TensorView::Create(four.address(), DType::kF32, {2, 3}, {6, 1}, device.id());
  const TensorView elsewhere = *TensorView::Contiguous(four.address(), DType::kF32, {2, 3},
                                                       DeviceId{BackendKind::kVulkan, 0});
  const TensorView freed = *TensorView::Contiguous(0x1000, DType::kF32, {2, 3}, device.id());
  const TensorView inside =
      *TensorView::Contiguous(four.address() + 12, DType::kF32, {2, 3}, device.id());
  const TensorView shifted =
      *TensorView::Contiguous(four.address() + 4, DType::kF32, {2, 3}, device.id());

  struct Refused {
    absl::Status status;
    absl::StatusCode code;
    std::string text;
  };
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  const std::vector<Refused> cases = {
      {communicator.AllGather(queue, TensorView(), four, Soon()), kInvalid, "send is not given"},
      {communicator.AllGather(queue, two, TensorView(), Soon()), kInvalid, "receive is not given"},
      {communicator.AllGather(queue, two, two, Soon()), kInvalid, "2 times the first extent"},
      {communicator.AllGather(queue, two, four_f16, Soon()), kInvalid, "f16[4, 3]"},
      {communicator.AllGather(queue, two, flat, Soon()), kInvalid, "f32[12]"},
      {communicator.AllGather(queue, two, wide, Soon()), kInvalid, "f32[4, 4]"},
      {communicator.AllGather(queue, strided, four, Soon()), kInvalid, "send f32[2, 3]"},
      {communicator.AllGather(queue, elsewhere, four, Soon()), kInvalid, "send lies on vulkan:0"},
      {communicator.AllGather(queue, freed, four, Soon()), absl::StatusCode::kOutOfRange, "send"},
      {communicator.AllGather(queue, inside, four, Soon()), kInvalid, "overlaps"},
      {communicator.ReduceScatter(queue, two, four, Soon()), kInvalid, "2 times the first extent"},
      {communicator.ReduceScatter(queue, four, inside, Soon()), kInvalid, "overlaps"},
      {communicator.AllReduce(queue, two, four, Soon()), kInvalid, "alike"},
      {communicator.AllReduce(queue, shifted, inside, Soon()), kInvalid, "overlaps"},
      {communicator.Broadcast(queue, two, 2, Soon()), kInvalid, "root is 2"},
      {communicator.Broadcast(queue, two, -1, Soon()), kInvalid, "root is -1"},
  };
  for (const Refused& refused : cases) {
    EXPECT_EQ(refused.status.code(), refused.code) << refused.status;
    EXPECT_THAT(refused.status.message(), HasSubstr(refused.text));
  }
  EXPECT_TRUE(communicator.status().ok());
  group.Run([](TestRank& rank) {
    const absl::Status status = GatherSome(rank, 3, Soon());
    EXPECT_TRUE(status.ok()) << status;
  });
}

TEST(FlightRecordTest, ShowsTheLastCallsAndTheirEnds) {
  TestGroup group(2, true);
  group.Run([](TestRank& rank) {
    rank.communicator->SetStep(9, 0);
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(rank.communicator->Barrier(Soon()).ok());
    ASSERT_TRUE(GatherSome(rank, 3, Soon()).ok());
  });
  std::thread late([&] { GatherSome(group[0], 3, Soon()).IgnoreError(); });
  std::string record;
  while (record.find("waiting") == std::string::npos) {
    absl::SleepFor(absl::Milliseconds(1));
    record = group[0].communicator->FlightRecord();
  }
  EXPECT_THAT(record, HasSubstr("all_gather #301, step 9, 12 bytes, OK after "));
  EXPECT_THAT(record, HasSubstr("all_gather #302, step 9, 12 bytes, waiting for "));
  EXPECT_THAT(record, AllOf(HasSubstr("barrier #47,"), Not(HasSubstr("barrier #46,"))));
  group[1].communicator->Abort(absl::OkStatus());
  late.join();
  EXPECT_THAT(group[0].communicator->FlightRecord(),
              HasSubstr("302, step 9, 12 bytes, ABORTED after "));
}

}  // namespace
}  // namespace weft::testing
