// SPDX-License-Identifier: Apache-2.0
//
// The runtime on a device. Skips itself, with the reason, where there is none.
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/attention_spec.h"
#include "core/backend.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/registry.h"
#include "core/tensor_view.h"
#include "cuda/interop.h"
#include "cuda/test_device.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

template <typename T>
absl::Span<const uint8_t> Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)};
}

template <typename T>
absl::Span<uint8_t> MutableBytes(std::vector<T>& values) {
  return {reinterpret_cast<uint8_t*>(values.data()), values.size() * sizeof(T)};
}

std::vector<uint32_t> Counting(size_t count, uint32_t first) {
  std::vector<uint32_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

class CudaQueueTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Backend>> device = TestDevice();
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status();
    ASSERT_TRUE(device.ok()) << device.status();
    backend_ = *device;
    queue_ = *backend_->CreateQueue();
  }

  std::unique_ptr<Buffer> Allocate(int64_t bytes) { return *backend_->Allocate(bytes); }

  absl::Status Finish(Queue& queue) {
    absl::Status status = queue.Submit();
    if (status.ok()) status = queue.Wait(absl::Now() + absl::Seconds(60));
    return status;
  }

  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
};

TEST_F(CudaQueueTest, CopiesThereAndBackAndTakesTheSourceOver) {
  constexpr size_t kCount = (20 << 20) / 4 + 3;  // more than two chunks of staging memory
  auto first = Allocate(kCount * 4);
  auto second = Allocate(kCount * 4);
  std::vector<uint32_t> source = Counting(kCount, 7);
  std::vector<uint32_t> result(kCount, 0);
  ASSERT_TRUE(queue_->CopyFromHost(first->address(), Bytes(source)).ok());
  source.assign(kCount, 0xFFFFFFFF);
  ASSERT_TRUE(queue_->Copy(second->address(), first->address(), kCount * 4).ok());
  ASSERT_TRUE(queue_->CopyToHost(MutableBytes(result), second->address()).ok());
  const absl::Status finished = Finish(*queue_);
  ASSERT_TRUE(finished.ok()) << finished;
  EXPECT_EQ(result, Counting(kCount, 7));
}

TEST_F(CudaQueueTest, NothingRunsBeforeSubmit) {
  auto buffer = Allocate(4096);
  std::vector<uint32_t> result(1024, 0);
  ASSERT_TRUE(queue_->Fill(buffer->address(), 4096, 1).ok());
  ASSERT_TRUE(Finish(*queue_).ok());
  ASSERT_TRUE(queue_->Fill(buffer->address(), 4096, 2).ok());
  auto other = *backend_->CreateQueue();
  ASSERT_TRUE(other->CopyToHost(MutableBytes(result), buffer->address()).ok());
  ASSERT_TRUE(Finish(*other).ok());
  EXPECT_EQ(result, std::vector<uint32_t>(1024, 1));
}

TEST_F(CudaQueueTest, FillsWordsAndNothingBeside) {
  auto buffer = Allocate(4096);
  std::vector<uint32_t> result(1024, 0);
  ASSERT_TRUE(queue_->Fill(buffer->address(), 4096, 0xDEADBEEF).ok());
  ASSERT_TRUE(queue_->Fill(buffer->address() + 4, 12, 0x01020304).ok());
  ASSERT_TRUE(queue_->CopyToHost(MutableBytes(result), buffer->address()).ok());
  ASSERT_TRUE(Finish(*queue_).ok());
  std::vector<uint32_t> expected(1024, 0xDEADBEEF);
  expected[1] = expected[2] = expected[3] = 0x01020304;
  EXPECT_EQ(result, expected);
}

TEST_F(CudaQueueTest, ADeadlineThatPassesLosesNothing) {
  constexpr int64_t kBytes = int64_t{2} << 30;
  auto big = Allocate(kBytes);
  std::vector<uint32_t> result(4, 0);
  for (uint32_t i = 1; i <= 50; ++i) ASSERT_TRUE(queue_->Fill(big->address(), kBytes, i).ok());
  ASSERT_TRUE(queue_->CopyToHost(MutableBytes(result), big->address() + kBytes - 16).ok());
  ASSERT_TRUE(queue_->Submit().ok());
  const absl::Status early = queue_->Wait(absl::InfinitePast());
  EXPECT_EQ(early.code(), absl::StatusCode::kDeadlineExceeded) << early;
  const absl::Status late = queue_->Wait(absl::Now() + absl::Seconds(60));
  EXPECT_TRUE(late.ok()) << late;
  EXPECT_EQ(result, std::vector<uint32_t>(4, 50));
}

TEST_F(CudaQueueTest, WaitWithNothingSubmittedIsOk) {
  EXPECT_TRUE(queue_->Wait(absl::InfinitePast()).ok());
  EXPECT_TRUE(queue_->Submit().ok());
}

TEST_F(CudaQueueTest, AQueueDestroyedWithWorkInFlightTouchesNoDestination) {
  auto buffer = Allocate(1 << 20);
  std::vector<uint32_t> result((1 << 20) / 4, 5);
  ASSERT_TRUE(queue_->Fill(buffer->address(), 1 << 20, 9).ok());
  ASSERT_TRUE(queue_->CopyToHost(MutableBytes(result), buffer->address()).ok());
  ASSERT_TRUE(queue_->Submit().ok());
  queue_.reset();
  EXPECT_EQ(result, std::vector<uint32_t>(result.size(), 5));
}

TEST_F(CudaQueueTest, TwoQueuesInTwoThreads) {
  auto work = [this](uint32_t seed, bool* same) {
    absl::StatusOr<std::unique_ptr<Queue>> queue = backend_->CreateQueue();
    auto buffer = Allocate(1 << 20);
    *same = queue.ok();
    for (uint32_t i = 0; i < 50 && *same; ++i) {
      const std::vector<uint32_t> source = Counting((1 << 20) / 4, seed * 1000 + i);
      std::vector<uint32_t> result(source.size(), 0);
      *same = (*queue)->CopyFromHost(buffer->address(), Bytes(source)).ok() &&
              (*queue)->CopyToHost(MutableBytes(result), buffer->address()).ok() &&
              Finish(**queue).ok() && result == source;
    }
  };
  bool same[2] = {};
  std::thread one(work, 1, &same[0]);
  std::thread two(work, 2, &same[1]);
  one.join();
  two.join();
  EXPECT_TRUE(same[0]);
  EXPECT_TRUE(same[1]);
}

TEST_F(CudaQueueTest, ProfilingCountsEachOperationOnce) {
  auto buffer = Allocate(1 << 20);
  ASSERT_TRUE(queue_->Fill(buffer->address(), 1 << 20, 1).ok());
  ASSERT_TRUE(Finish(*queue_).ok());
  EXPECT_EQ(queue_->TakeOpTimes()[static_cast<size_t>(OpKind::kFill)].calls, 0) << "it is off";
  queue_->SetProfiling(true);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(queue_->Fill(buffer->address(), 1 << 20, 1).ok());
  ASSERT_TRUE(queue_->Copy(buffer->address(), buffer->address() + 4096, 4096).ok());
  ASSERT_TRUE(Finish(*queue_).ok());
  const std::vector<OpTime> times = queue_->TakeOpTimes();
  EXPECT_EQ(times[static_cast<size_t>(OpKind::kFill)].calls, 3);
  EXPECT_GT(times[static_cast<size_t>(OpKind::kFill)].time, absl::ZeroDuration());
  EXPECT_EQ(times[static_cast<size_t>(OpKind::kCopy)].calls, 1);
  EXPECT_EQ(queue_->TakeOpTimes()[static_cast<size_t>(OpKind::kFill)].calls, 0);
}

TEST_F(CudaQueueTest, AllocationsAreAlignedKnownAndBounded) {
  auto buffer = Allocate(1);
  EXPECT_EQ(buffer->address() % 256, 0u);
  EXPECT_TRUE(backend_->allocations().Check(buffer->address(), 1).ok());
  const uint64_t address = buffer->address();
  buffer.reset();
  EXPECT_FALSE(backend_->allocations().Find(address, 1).has_value());
  EXPECT_EQ(backend_->Allocate(0).status().code(), absl::StatusCode::kInvalidArgument);
  const absl::Status huge = backend_->Allocate(int64_t{1} << 50).status();
  EXPECT_EQ(huge.code(), absl::StatusCode::kResourceExhausted) << huge;
  EXPECT_TRUE(absl::StrContains(huge.message(), "1125899906842624 bytes asked for")) << huge;
  EXPECT_TRUE(backend_->Allocate(1 << 20).ok()) << "the refusal must not stick";
}

TEST_F(CudaQueueTest, AdoptsACallersMemory) {
  auto buffer = Allocate(4096);
  EXPECT_FALSE(AdoptMemory(*backend_, buffer->address() + 256, 256).ok()) << "known already";
  std::vector<uint32_t> host(16);
  EXPECT_EQ(AdoptMemory(*backend_, reinterpret_cast<uint64_t>(host.data()), 64).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AdoptMemory(*backend_, 0, 64).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CudaQueueTest, RefusesWhatIsNotBuiltByName) {
  AttentionSpec spec;
  spec.num_heads = 8;
  spec.num_kv_heads = 2;
  spec.head_size = 16;
  const KvCacheLayout layout = *KvCacheLayout::Nhd(DType::kF16, 16, 2, 16);
  const absl::Status supports = backend_->Supports(spec, layout);
  EXPECT_EQ(supports.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(supports.message(), "head_size 16: must be in [32, 256] on cuda");
  EXPECT_EQ(backend_->Prepare(spec, layout).status(), supports);
  spec.head_size = 32;
  EXPECT_EQ(backend_->Supports(spec, layout).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace weft::cuda
