// SPDX-License-Identifier: Apache-2.0
//
// Queues over streams under capture, and a Forward that is captured once and replayed with other
// plans. Skips itself, with the reason, where there is no device.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/backend.h"
#include "core/queue.h"
#include "core/step_buffers.h"
#include "cuda/bench/capture.h"
#include "cuda/interop.h"
#include "cuda/runtime/cuda_backend.h"
#include "cuda/test_device.h"
#include "cuda/test_forward.h"
#include "cuda_runtime_api.h"
#include "gtest/gtest.h"
#include "testing/device_io.h"

namespace weft::cuda {
namespace {

using weft::testing::Download;
using weft::testing::Finish;

constexpr int64_t kBytes = 1 << 20;

class CaptureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Backend>> device = TestDevice();
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status();
    ASSERT_TRUE(device.ok()) << device.status();
    backend_ = *device;
    ASSERT_EQ(cudaSetDevice(backend_->device().ordinal), cudaSuccess);
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    captured_ = *AdoptStream(*backend_, stream_);
    queue_ = *backend_->CreateQueue();
  }

  void TearDown() override {
    captured_.reset();
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  // Runs the graph once.
  absl::Status Launch(const CapturedGraph& graph) {
    absl::StatusOr<cudaGraphExec_t> executable = graph.Instantiate();
    if (!executable.ok()) return executable.status();
    const cudaError_t launched = cudaGraphLaunch(*executable, stream_);
    const cudaError_t done = cudaStreamSynchronize(stream_);
    cudaGraphExecDestroy(*executable);
    if (launched == cudaSuccess && done == cudaSuccess) return absl::OkStatus();
    return absl::InternalError(cudaGetErrorString(launched != cudaSuccess ? launched : done));
  }

  uint32_t FirstWord(const Buffer& buffer) {
    const auto bytes = Download(*queue_, buffer.address(), 4);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    uint32_t word = 0;
    std::memcpy(&word, bytes->data(), 4);
    return word;
  }

  std::shared_ptr<Backend> backend_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<Queue> captured_;  // over stream_
  std::unique_ptr<Queue> queue_;
};

TEST_F(CaptureTest, SubmitMakesNodesAndKeepsNothing) {
  auto first = *backend_->Allocate(kBytes);
  auto second = *backend_->Allocate(kBytes);
  ASSERT_TRUE(queue_->Fill(first->address(), kBytes, 1).ok());
  ASSERT_TRUE(queue_->Fill(second->address(), kBytes, 1).ok());
  ASSERT_TRUE(Finish(*queue_).ok());
  const auto graph = CapturedGraph::Capture(stream_, [&] {
    EXPECT_TRUE(captured_->Fill(first->address(), kBytes, 7).ok());
    EXPECT_TRUE(captured_->Copy(second->address(), first->address(), kBytes).ok());
    return captured_->Submit();
  });
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(FirstWord(*second), 1u) << "nothing runs before the launch";
  // Nothing is in flight, and nothing is left of the capture.
  EXPECT_TRUE(captured_->Wait(absl::InfinitePast()).ok());
  EXPECT_TRUE(captured_->Submit().ok());
  captured_.reset();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(queue_->Fill(second->address(), kBytes, 1).ok());
    ASSERT_TRUE(Finish(*queue_).ok());
    const absl::Status launched = Launch(*graph);
    ASSERT_TRUE(launched.ok()) << launched;
    EXPECT_EQ(FirstWord(*second), 7u);
  }
}

TEST_F(CaptureTest, WhatCannotBeCapturedIsRefusedByName) {
  auto buffer = *backend_->Allocate(kBytes);
  std::vector<uint8_t> host(16, 3);
  const auto graph = CapturedGraph::Capture(stream_, [&] {
    const absl::Status wait = captured_->Wait(absl::Now() + absl::Seconds(1));
    const absl::Status up = captured_->CopyFromHost(buffer->address(), host);
    const absl::Status down = captured_->CopyToHost(absl::MakeSpan(host), buffer->address());
    for (const absl::Status& status : {wait, up, down}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
      EXPECT_TRUE(absl::StrContains(status.message(), "under capture")) << status;
    }
    EXPECT_TRUE(captured_->Fill(buffer->address(), kBytes, 5).ok());
    return captured_->Submit();
  });
  ASSERT_TRUE(graph.ok()) << "refusals do not break the capture: " << graph.status();
  EXPECT_TRUE(Launch(*graph).ok());
  EXPECT_EQ(FirstWord(*buffer), 5u);
}

TEST_F(CaptureTest, ACopyRecordedBeforeTheCaptureWaitsForItsEnd) {
  auto buffer = *backend_->Allocate(kBytes);
  const std::vector<uint8_t> host(16, 3);
  ASSERT_TRUE(captured_->CopyFromHost(buffer->address(), host).ok());
  const auto graph = CapturedGraph::Capture(stream_, [&] { return captured_->Submit(); });
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kFailedPrecondition) << graph.status();
  const absl::Status later = Finish(*captured_);
  ASSERT_TRUE(later.ok()) << later;
  EXPECT_EQ(FirstWord(*buffer), 0x03030303u);
}

TEST_F(CaptureTest, OtherQueuesWorkBesideACapture) {
  const auto graph = CapturedGraph::Capture(stream_, [&]() -> absl::Status {
    // A new queue pins memory, makes events and waits; allocations come and go.
    auto other = *backend_->CreateQueue();
    auto buffer = *backend_->Allocate(kBytes);
    const std::vector<uint8_t> host(kBytes, 9);
    absl::Status status = other->CopyFromHost(buffer->address(), host);
    if (status.ok()) status = other->Submit();
    if (status.ok()) status = other->Wait(absl::Now() + absl::Seconds(60));
    return status;
  });
  EXPECT_TRUE(graph.ok()) << graph.status();
}

// ---- Forward -----------------------------------------------------------------------------------

class ForwardCaptureTest : public CaptureTest {
 protected:
  void SetUp() override {
    CaptureTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto forward = TestForward::Create(backend_);
    ASSERT_TRUE(forward.ok()) << forward.status();
    forward_ = *std::move(forward);
  }

  std::unique_ptr<TestForward> forward_;
};

TEST_F(ForwardCaptureTest, ReplayedWithOtherPlansGivesTheBitsOfAnEagerRun) {
  const std::vector<std::vector<TestForward::Part>> steps = {
      {{RequestKind::kDecode, 1, 600}, {RequestKind::kPrefill, 20, 0}},
      {{RequestKind::kDecode, 1, 1500},
       {RequestKind::kDecode, 1, 31},
       {RequestKind::kDecode, 1, 0}},
      {{RequestKind::kPrefill, 50, 1000}},
      {{RequestKind::kPrefill, 9, 100},
       {RequestKind::kPrefill, 30, 0},
       {RequestKind::kDecode, 1, 700}},
      {},
  };
  StepLimits limits = forward_->limits();
  limits.pad = true;
  auto step = *StepBuffers::Create(backend_, limits);
  ASSERT_TRUE(step->Update(*queue_, *forward_->PlanOf(steps[0])).ok());
  ASSERT_TRUE(Finish(*queue_).ok());
  const auto graph = CapturedGraph::Capture(stream_, [&]() -> absl::Status {
    const absl::Status recorded = forward_->layer().Forward(*captured_, *step, forward_->io);
    return recorded.ok() ? captured_->Submit() : recorded;
  });
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_GE(graph->KernelGrids()->size(), 2u);
  for (const std::vector<TestForward::Part>& parts : steps) {
    const auto plan = forward_->PlanOf(parts);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const auto expected = forward_->Run(*plan);
    ASSERT_TRUE(expected.ok()) << expected.status();
    ASSERT_TRUE(forward_->Poison().ok());
    ASSERT_TRUE(step->Update(*queue_, *plan).ok());
    ASSERT_TRUE(Finish(*queue_).ok());
    const absl::Status launched = Launch(*graph);
    ASSERT_TRUE(launched.ok()) << launched;
    EXPECT_TRUE(*forward_->Output() == *expected) << (*plan)->Explain();
  }
}

TEST_F(ForwardCaptureTest, AWarmForwardAllocatesNothing) {
  auto step = *StepBuffers::Create(backend_, forward_->limits());
  const auto plan =
      *forward_->PlanOf({{RequestKind::kDecode, 1, 600}, {RequestKind::kPrefill, 20, 0}});
  const auto round = [&]() -> absl::Status {
    absl::Status status = step->Update(*queue_, plan);
    for (int layer = 0; layer < 8 && status.ok(); ++layer) {
      status = forward_->layer().Forward(*queue_, *step, forward_->io);
    }
    return status.ok() ? Finish(*queue_) : status;
  };
  ASSERT_TRUE(round().ok());
  const auto& backend = static_cast<const CudaBackend&>(*backend_);
  const int64_t before = backend.num_allocations();
  EXPECT_GT(before, 0) << "the counter counts";
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(round().ok());
  EXPECT_EQ(backend.num_allocations(), before);
}

}  // namespace
}  // namespace weft::cuda
