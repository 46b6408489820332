// SPDX-License-Identifier: Apache-2.0
//
// Queues over streams under capture, and a Forward that is captured once and replayed with other
// plans. Skips itself, with the reason, where there is no device.
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/attention_layer.h"
#include "core/attention_metadata.h"
#include "core/backend.h"
#include "core/queue.h"
#include "core/step_buffers.h"
#include "cuda/bench/capture.h"
#include "cuda/interop.h"
#include "cuda/runtime/cuda_backend.h"
#include "cuda/test_device.h"
#include "cuda_runtime_api.h"
#include "gtest/gtest.h"
#include "testing/device_io.h"

namespace weft::cuda {
namespace {

using weft::testing::AllocatePoisoned;
using weft::testing::AsBytes;
using weft::testing::Download;
using weft::testing::Finish;
using weft::testing::Upload;

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

constexpr int64_t kHeads = 8, kKvHeads = 2, kSize = 128, kBlock = 16;
constexpr int64_t kBlocks = 200, kMaxRows = 64;

struct Part {
  RequestKind kind;
  int64_t new_tokens, computed;
};

class ForwardCaptureTest : public CaptureTest {
 protected:
  void SetUp() override {
    CaptureTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    AttentionSpec spec;
    spec.num_heads = kHeads;
    spec.num_kv_heads = kKvHeads;
    spec.head_size = kSize;
    layout_ = *KvCacheLayout::Nhd(DType::kF16, kBlock, kKvHeads, kSize);
    auto layer = AttentionLayer::Create(backend_, spec, layout_);
    ASSERT_TRUE(layer.ok()) << layer.status();
    layer_ = std::make_unique<AttentionLayer>(*layer);
    query_ = Numbers(kMaxRows * kHeads * kSize, 1);
    key_ = Numbers(kMaxRows * kKvHeads * kSize, 2);
    value_ = Numbers(kMaxRows * kKvHeads * kSize, 3);
    cache_ = Numbers(2 * kBlocks * kBlock * kKvHeads * kSize, 4);
    out_ = *AllocatePoisoned(*backend_, *queue_, kMaxRows * kHeads * kSize * 2);
    ASSERT_TRUE(Finish(*queue_).ok());
    io_.query = View(*query_, kHeads);
    io_.key = View(*key_, kKvHeads);
    io_.value = View(*value_, kKvHeads);
    io_.out = View(*out_, kHeads);
    io_.cache =
        *KvCacheView::OneAllocation(layout_, cache_->address(), kBlocks, backend_->device());
    limits_ = *StepLimits::For(spec, layout_, 1, kMaxRows, 8, kBlocks * kBlock, 8);
  }

  std::unique_ptr<Buffer> Numbers(int64_t count, uint32_t seed) {
    std::vector<uint16_t> values(static_cast<size_t>(count));
    for (uint16_t& value : values) {
      seed = seed * 1664525 + 1013904223;
      value = F32ToF16(static_cast<float>(seed >> 8) / 8388608.0f - 1.0f);
    }
    return *Upload(*backend_, *queue_, AsBytes(values));
  }

  TensorView View(const Buffer& buffer, int64_t heads) const {
    return *TensorView::Contiguous(buffer.address(), DType::kF16, {kMaxRows, heads, kSize},
                                   backend_->device());
  }

  std::shared_ptr<const Plan> PlanOf(const std::vector<Part>& parts) const {
    std::vector<int32_t> ids(kBlocks);
    for (int64_t i = 0; i < kBlocks; ++i) ids[i] = static_cast<int32_t>(i * 37 % kBlocks);
    RequestBatch batch;
    size_t next = 0;
    for (const Part& part : parts) {
      const auto blocks =
          static_cast<size_t>((part.new_tokens + part.computed + kBlock - 1) / kBlock);
      batch.requests.push_back({part.kind, part.new_tokens, part.computed,
                                absl::MakeConstSpan(ids).subspan(next, blocks)});
      next += blocks;
    }
    const auto metadata = AttentionMetadataBuilder(layout_, kBlocks).Build(batch);
    EXPECT_TRUE(metadata.ok()) << metadata.status();
    return *layer_->MakePlan(*metadata);
  }

  absl::Status Poison() {
    absl::Status status = queue_->Fill(out_->address(), out_->size_bytes(), weft::testing::kPoison);
    return status.ok() ? Finish(*queue_) : status;
  }

  std::vector<uint8_t> Output() { return *Download(*queue_, out_->address(), out_->size_bytes()); }

  KvCacheLayout layout_;
  std::unique_ptr<AttentionLayer> layer_;
  std::unique_ptr<Buffer> query_, key_, value_, cache_, out_;
  AttentionIo io_;
  StepLimits limits_;
};

TEST_F(ForwardCaptureTest, ReplayedWithOtherPlansGivesTheBitsOfAnEagerRun) {
  const std::vector<std::vector<Part>> steps = {
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
  auto eager = *StepBuffers::Create(backend_, limits_);
  limits_.pad = true;
  auto step = *StepBuffers::Create(backend_, limits_);
  ASSERT_TRUE(step->Update(*queue_, PlanOf(steps[0])).ok());
  ASSERT_TRUE(Finish(*queue_).ok());
  const auto graph = CapturedGraph::Capture(stream_, [&]() -> absl::Status {
    const absl::Status recorded = layer_->Forward(*captured_, *step, io_);
    return recorded.ok() ? captured_->Submit() : recorded;
  });
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_GE(*graph->CountKernels(), 2);
  for (const std::vector<Part>& parts : steps) {
    const std::shared_ptr<const Plan> plan = PlanOf(parts);
    ASSERT_TRUE(Poison().ok());
    ASSERT_TRUE(eager->Update(*queue_, plan).ok());
    const absl::Status forward = layer_->Forward(*queue_, *eager, io_);
    ASSERT_TRUE(forward.ok()) << forward;
    ASSERT_TRUE(Finish(*queue_).ok());
    const std::vector<uint8_t> expected = Output();
    ASSERT_TRUE(Poison().ok());
    ASSERT_TRUE(step->Update(*queue_, plan).ok());
    ASSERT_TRUE(Finish(*queue_).ok());
    const absl::Status launched = Launch(*graph);
    ASSERT_TRUE(launched.ok()) << launched;
    EXPECT_TRUE(Output() == expected) << plan->Explain();
  }
}

TEST_F(ForwardCaptureTest, AWarmForwardAllocatesNothing) {
  auto step = *StepBuffers::Create(backend_, limits_);
  const auto plan = PlanOf({{RequestKind::kDecode, 1, 600}, {RequestKind::kPrefill, 20, 0}});
  const auto round = [&]() -> absl::Status {
    absl::Status status = step->Update(*queue_, plan);
    for (int layer = 0; layer < 8 && status.ok(); ++layer) {
      status = layer_->Forward(*queue_, *step, io_);
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
