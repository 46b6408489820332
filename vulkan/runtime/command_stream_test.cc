// SPDX-License-Identifier: Apache-2.0
#include "vulkan/runtime/command_stream.h"

#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "vulkan/runtime/test_stream.h"

namespace weft::vulkan {
namespace {

using CommandStreamTest = StreamTest;

absl::Status Finish(CommandStream& stream) {
  absl::Status status = stream.Submit();
  return status.ok() ? stream.Wait(absl::Now() + absl::Seconds(60)) : status;
}

std::vector<uint32_t> Sequence(int64_t count, uint32_t first) {
  std::vector<uint32_t> words(static_cast<size_t>(count));
  for (size_t i = 0; i < words.size(); ++i)
    words[i] = first + static_cast<uint32_t>(i) * 2654435761u;
  return words;
}

// x -> 2 x + 1, `times` times.
uint32_t Affine2(uint32_t x, int times) {
  for (int i = 0; i < times; ++i) x = 2 * x + 1;
  return x;
}

TEST_F(CommandStreamTest, CopiesLargerThanAChunkComeBack) {
  const int64_t count = (int64_t{20} << 20) / 4 + 3;
  const uint64_t a = Words(count), b = Words(count + 5);
  std::unique_ptr<CommandStream> stream = Stream({/*verify_hazards=*/true});
  std::vector<uint32_t> in = Sequence(count, 1), out(in.size());
  const std::vector<uint32_t> expected = in;
  ASSERT_TRUE(Upload(*stream, a, in).ok());
  in.assign(in.size(), 0);  // it was taken over
  ASSERT_TRUE(stream->Operation(0, [&] { return stream->Copy(b + 20, a, 4 * count); }).ok());
  ASSERT_TRUE(Download(*stream, out, b + 20).ok());
  absl::Status status = Finish(*stream);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(out == expected);
  EXPECT_EQ(stream->num_barriers(), 2);
}

TEST_F(CommandStreamTest, OperationsSeeWhatStandsBeforeThem) {
  std::unique_ptr<CommandStream> stream = Stream({/*verify_hazards=*/true});
  const Kernel* kernel = Affine();
  const uint64_t a = Words(1000), b = Words(1000), sizes = Words(2);
  std::vector<uint32_t> out(1000);
  ASSERT_TRUE(Fill(*stream, a, 1000, 5).ok());
  ASSERT_TRUE(Fill(*stream, b, 1000, 0).ok());
  // More parameter blocks than one chunk of the arena holds.
  const int rounds = 3000;
  AffineParams params{a, a, sizes, 1000, 1};
  for (int i = 0; i < rounds; ++i) ASSERT_TRUE(Dispatch(*stream, *kernel, 64, params).ok());
  params.destination = b;
  ASSERT_TRUE(Dispatch(*stream, *kernel, 64, params).ok());
  ASSERT_TRUE(Download(*stream, out, b).ok());
  absl::Status status = Finish(*stream);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(out.front(), Affine2(5, rounds + 1));
  EXPECT_EQ(out, std::vector<uint32_t>(1000, out.front()));
  EXPECT_EQ(stream->num_dispatches(), rounds + 1);
}

TEST_F(CommandStreamTest, NothingRunsBeforeSubmitAndMemoryIsReused) {
  std::unique_ptr<CommandStream> stream = Stream();
  const uint64_t a = Words(4);
  std::vector<uint32_t> out(4, 77);
  EXPECT_TRUE(stream->Submit().ok());
  EXPECT_TRUE(stream->Wait(absl::InfiniteFuture()).ok());
  ASSERT_TRUE(Fill(*stream, a, 4, 1).ok());
  ASSERT_TRUE(Download(*stream, out, a).ok());
  EXPECT_TRUE(stream->Wait(absl::InfiniteFuture()).ok());
  EXPECT_EQ(out[0], 77u);
  for (uint32_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(Fill(*stream, a, 4, i).ok());
    ASSERT_TRUE(Download(*stream, out, a).ok());
    ASSERT_TRUE(stream->Submit().ok());
    ASSERT_TRUE(stream->Wait(absl::InfiniteFuture()).ok());
    ASSERT_EQ(out, std::vector<uint32_t>(4, i));
  }
}

TEST_F(CommandStreamTest, BadDispatchesAreRefusedInWords) {
  std::unique_ptr<CommandStream> stream = Stream();
  const Kernel* kernel = Affine();
  const std::vector<uint8_t> block(4097);
  auto dispatch = [&](size_t bytes, std::array<uint32_t, 3> groups) {
    return stream->Operation(2, [&] {
      return stream->Dispatch(*kernel, {block.data(), bytes}, groups, {});
    });
  };
  EXPECT_EQ(dispatch(4097, {1, 1, 1}).message(),
            "kernel affine: 4097 bytes of parameters, allowed are 1 to 4096");
  EXPECT_EQ(dispatch(8, {1, 0, 1}).code(), absl::StatusCode::kInvalidArgument);
  absl::Status copy = stream->Operation(0, [&] { return stream->Copy(64, 128, 4); });
  EXPECT_EQ(copy.code(), absl::StatusCode::kOutOfRange) << copy;
  EXPECT_TRUE(Finish(*stream).ok());
}

TEST_F(CommandStreamTest, DeadlineComesFirstAndWorkGoesOn) {
  std::unique_ptr<CommandStream> stream = Stream();
  const uint32_t count = 1 << 16;
  const uint64_t a = Words(count), sizes = Words(2);
  std::vector<uint32_t> out(count);
  ASSERT_TRUE(Fill(*stream, a, count, 1).ok());
  AffineParams params{a, a, sizes, count, device_->limits().is_software ? 10000u : 1000000u};
  ASSERT_TRUE(Dispatch(*stream, *Affine(), 64, params).ok());
  ASSERT_TRUE(Download(*stream, out, a).ok());
  ASSERT_TRUE(stream->Submit().ok());
  absl::Status early = stream->Wait(absl::Now() + absl::Milliseconds(1));
  EXPECT_EQ(early.code(), absl::StatusCode::kDeadlineExceeded) << early;
  EXPECT_EQ(out[0], 0u);
  absl::Status late = stream->Wait(absl::Now() + absl::Seconds(60));
  ASSERT_TRUE(late.ok()) << late;
  EXPECT_EQ(out[0], Affine2(1, static_cast<int>(params.rounds)));
}

TEST_F(CommandStreamTest, TwoStreamsInTwoThreads) {
  const Kernel* kernel = Affine();
  uint64_t memory[2] = {Words(500), Words(500)};
  const uint64_t sizes[2] = {Words(2), Words(2)};
  std::vector<uint32_t> results[2];
  auto work = [&](int who) {
    std::unique_ptr<CommandStream> stream = Stream();
    for (uint32_t round = 0; round < 30; ++round) {
      std::vector<uint32_t> out(500);
      const uint32_t seed = 1000 * static_cast<uint32_t>(who) + round;
      ASSERT_TRUE(Fill(*stream, memory[who], 500, seed).ok());
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(
            Dispatch(*stream, *kernel, 64, {memory[who], memory[who], sizes[who], 500, 1}).ok());
        ASSERT_TRUE(stream->Submit().ok());
      }
      ASSERT_TRUE(Download(*stream, out, memory[who]).ok());
      ASSERT_TRUE(Finish(*stream).ok());
      ASSERT_EQ(out, std::vector<uint32_t>(500, Affine2(seed, 5))) << "thread " << who;
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
}

TEST_F(CommandStreamTest, DeviceErrorsStay) {
  const uint64_t a = Words(4);
  std::unique_ptr<CommandStream> stream = Stream(), other = Stream();
  ASSERT_TRUE(Fill(*stream, a, 4, 1).ok());
  stream->faults_for_test().lose_device_at_submit = true;
  absl::Status lost = stream->Submit();
  EXPECT_EQ(lost.code(), absl::StatusCode::kAborted);
  EXPECT_NE(lost.message().find("VK_ERROR_DEVICE_LOST"), std::string::npos) << lost;
  stream->faults_for_test().lose_device_at_submit = false;
  EXPECT_EQ(Fill(*stream, a, 4, 1), lost);
  EXPECT_EQ(stream->Submit(), lost);
  EXPECT_EQ(stream->Wait(absl::InfiniteFuture()), lost);
  // It is the device that is lost.
  EXPECT_EQ(Fill(*other, a, 4, 1), lost);
}

TEST_F(CommandStreamTest, ASuppressedBarrierIsFound) {
  const uint64_t a = Words(64), b = Words(64), sizes = Words(2);
  for (bool suppress : {false, true}) {
    std::unique_ptr<CommandStream> stream = Stream({/*verify_hazards=*/true});
    stream->faults_for_test().suppress_barriers = suppress;
    ASSERT_TRUE(Fill(*stream, a, 64, 1).ok());
    ASSERT_TRUE(Dispatch(*stream, *Affine(), 64, {a, b, sizes, 64, 1}).ok());
    absl::Status status = Finish(*stream);
    if (!suppress) {
      EXPECT_TRUE(status.ok()) << status;
      continue;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(status.message().find("(fill) and entry 1 (affine): read after write"),
              std::string::npos)
        << status;
    EXPECT_EQ(Fill(*stream, a, 64, 1), status);  // the stream is spoilt, the device is not
  }
  EXPECT_TRUE(device_->status().ok());
}

TEST_F(CommandStreamTest, OneBarrierCanBeLeftOut) {
  const uint64_t a = Words(64), b = Words(64), sizes = Words(2);
  for (int64_t left_out : {-1, 0, 1, 2}) {
    StreamFaults faults;
    faults.suppressed_barrier = left_out;
    StreamOptions options;
    options.verify_hazards = true;
    options.faults = &faults;
    std::unique_ptr<CommandStream> stream = Stream(options);
    ASSERT_TRUE(Fill(*stream, a, 64, 1).ok());
    ASSERT_TRUE(Dispatch(*stream, *Affine(), 64, {a, b, sizes, 64, 1}).ok());
    ASSERT_TRUE(Fill(*stream, b, 64, 1).ok());
    absl::Status status = Finish(*stream);
    EXPECT_EQ(faults.barriers_needed, 2);
    EXPECT_EQ(status.ok(), left_out < 0 || left_out >= 2) << left_out << ": " << status;
    if (left_out == 1) {
      EXPECT_NE(status.message().find("(affine) and entry 3 (fill): write after write"),
                std::string::npos)
          << status;
    }
  }
}

TEST_F(CommandStreamTest, AnOperationMustNotMakePipelines) {
  const uint64_t a = Words(64), sizes = Words(2);
  std::unique_ptr<CommandStream> stream = Stream({/*verify_hazards=*/true});
  const AffineParams params = {a, a, sizes, 64, 1};
  auto compile_and_dispatch = [&] {
    return stream->Operation(2, [&] {
      return stream->Dispatch(*Affine(64, /*factor=*/77),
                              {reinterpret_cast<const uint8_t*>(&params), sizeof(params)},
                              {1, 1, 1}, {});
    });
  };
  const absl::Status status = compile_and_dispatch();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("kind 2 made 1 pipelines"), std::string::npos) << status;
  EXPECT_TRUE(compile_and_dispatch().ok());  // found, not made
}

TEST_F(CommandStreamTest, BatchesAreCutBetweenOperationsOnly) {
  StreamOptions options;
  options.verify_hazards = true;
  options.max_dispatches_per_batch = 3;
  std::unique_ptr<CommandStream> stream = Stream(options);
  const Kernel* kernel = Affine();
  const uint64_t a = Words(64), sizes = Words(2);
  std::vector<uint32_t> out(64);
  ASSERT_TRUE(Fill(*stream, a, 64, 3).ok());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Dispatch(*stream, *kernel, 64, {a, a, sizes, 64, 1}).ok());
  }
  ASSERT_TRUE(Download(*stream, out, a).ok());
  absl::Status status = Finish(*stream);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(out, std::vector<uint32_t>(64, Affine2(3, 20)));
  // A batch starts with a barrier of its own, so fewer than 20 + 1 were needed.
  EXPECT_LT(stream->num_barriers(), 17);
}

TEST_F(CommandStreamTest, ProfilingCountsCallsAndTime) {
  if (device_->limits().timestamp_bits == 0) GTEST_SKIP() << "no timestamps";
  std::unique_ptr<CommandStream> stream = Stream();
  const uint64_t a = Words(1 << 14), sizes = Words(2);
  ASSERT_TRUE(Fill(*stream, a, 1 << 14, 3).ok());
  stream->SetProfiling(true);
  // More operations than a batch has timestamps for.
  const int calls = TimestampPool::kMaxOperations + 10;
  for (int i = 0; i < calls; ++i) ASSERT_TRUE(Fill(*stream, a, 4, 3).ok());
  ASSERT_TRUE(Dispatch(*stream, *Affine(), 64, {a, a, sizes, 1 << 14, 1000}).ok());
  const absl::Time start = absl::Now();
  ASSERT_TRUE(Finish(*stream).ok());
  const absl::Duration wall = absl::Now() - start;
  std::vector<TimestampPool::Sum> times = stream->TakeTimes();
  EXPECT_EQ(times[0].calls, 0);
  EXPECT_EQ(times[1].calls, calls);
  EXPECT_EQ(times[2].calls, 1);
  EXPECT_GT(times[2].time, absl::ZeroDuration());
  EXPECT_LT(times[1].time + times[2].time, wall + absl::Milliseconds(1));
  EXPECT_EQ(stream->TakeTimes()[1].calls, 0);
  stream->SetProfiling(false);
  ASSERT_TRUE(Fill(*stream, a, 4, 3).ok());
  ASSERT_TRUE(Finish(*stream).ok());
  EXPECT_EQ(stream->TakeTimes()[1].calls, 0);
}

}  // namespace
}  // namespace weft::vulkan
