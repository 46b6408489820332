// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite does not ask of Forward on CUDA: the same bits whichever schedule a
// device's size leads to, and pools whose blocks lie far from their base. Skips itself, with the
// reason, where there is no device.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/backend.h"
#include "core/kv_cache.h"
#include "core/queue.h"
#include "core/registry.h"
#include "core/status_macros.h"
#include "core/step_buffers.h"
#include "cuda/backend_hooks.h"
#include "cuda/bench/capture.h"
#include "cuda/interop.h"
#include "cuda/test_device.h"
#include "cuda/test_forward.h"
#include "cuda/test_reservation.h"
#include "cuda_runtime_api.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

using Parts = std::vector<TestForward::Part>;

// Prefills, and decodes of 1, 2 and 5 granules.
const Parts& SomeParts() {
  static const auto* const parts = new Parts{{RequestKind::kPrefill, 20, 0},
                                             {RequestKind::kDecode, 1, 30},
                                             {RequestKind::kDecode, 1, 600},
                                             {RequestKind::kPrefill, 9, 100},
                                             {RequestKind::kDecode, 1, 2300}};
  return *parts;
}

class ForwardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Backend>> device = TestDevice();
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status();
    ASSERT_TRUE(device.ok()) << device.status();
    ASSERT_EQ(cudaSetDevice((*device)->device().ordinal), cudaSuccess);
    auto forward = TestForward::Create(*device);
    ASSERT_TRUE(forward.ok()) << forward.status();
    forward_ = *std::move(forward);
  }

  std::unique_ptr<TestForward> forward_;
};

// The blocks of threads of each kernel of a Forward, in ascending order.
absl::StatusOr<std::vector<int64_t>> GridsOf(TestForward& forward, const Parts& parts) {
  ASSIGN_OR_RETURN(const auto plan, forward.PlanOf(parts));
  ASSIGN_OR_RETURN(const auto step, StepBuffers::Create(forward.backend(), forward.limits()));
  RETURN_IF_ERROR(step->Update(forward.queue(), plan));
  RETURN_IF_ERROR(forward.queue().Submit());
  RETURN_IF_ERROR(forward.queue().Wait(absl::InfiniteFuture()));
  cudaStream_t stream = nullptr;
  if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess)
    return absl::InternalError("no stream");
  auto grids = [&]() -> absl::StatusOr<std::vector<int64_t>> {
    ASSIGN_OR_RETURN(const auto captured, AdoptStream(*forward.backend(), stream));
    ASSIGN_OR_RETURN(const CapturedGraph graph,
                     CapturedGraph::Capture(stream, [&]() -> absl::Status {
                       RETURN_IF_ERROR(forward.layer().Forward(*captured, *step, forward.io));
                       return captured->Submit();
                     }));
    return graph.KernelGrids();
  }();
  cudaStreamDestroy(stream);
  if (grids.ok()) std::sort(grids->begin(), grids->end());
  return grids;
}

TEST_F(ForwardTest, BitsDoNotDependOnTheSchedule) {
  Registry registry;
  DeviceHooks hooks;
  hooks.pretend_multiprocessors = 1;
  ASSERT_TRUE(RegisterCudaBackendWithHooks(registry, hooks).ok());
  const auto small = registry.Create("cuda:0");
  ASSERT_TRUE(small.ok()) << small.status();
  const auto folding = TestForward::Create(*small);
  ASSERT_TRUE(folding.ok()) << folding.status();

  const auto grids = GridsOf(*forward_, SomeParts());
  const auto folded_grids = GridsOf(**folding, SomeParts());
  ASSERT_TRUE(grids.ok()) << grids.status();
  ASSERT_TRUE(folded_grids.ok()) << folded_grids.status();
  EXPECT_NE(*grids, *folded_grids) << "a device of one multiprocessor is scheduled as any other";

  const auto output = forward_->Run(*forward_->PlanOf(SomeParts()));
  const auto folded = (*folding)->Run(*(*folding)->PlanOf(SomeParts()));
  ASSERT_TRUE(output.ok()) << output.status();
  ASSERT_TRUE(folded.ok()) << folded.status();
  EXPECT_TRUE(*output == *folded);
}

class FarPoolTest : public ForwardTest {
 protected:
  int64_t BlockBytes() const { return forward_->layout().bytes_per_block(); }

  // That a pool of `num_blocks` blocks at `base`, in which `place` says where each block of the
  // near pool lies, gives the output that the near pool gives.
  void ExpectTheSameFrom(uint64_t base, int64_t num_blocks, TestForward::PlaceBlock place) {
    for (int32_t id = 0; id < TestForward::kNumBlocks; ++id) {
      const uint64_t from = forward_->cache_address() + static_cast<uint64_t>(id * BlockBytes());
      const uint64_t to = base + static_cast<uint64_t>(place(id) * BlockBytes());
      ASSERT_EQ(cudaMemcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from),
                           static_cast<size_t>(BlockBytes()), cudaMemcpyDeviceToDevice),
                cudaSuccess);
    }
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto near = forward_->Run(*forward_->PlanOf(SomeParts()));
    ASSERT_TRUE(near.ok()) << near.status();
    const auto cache = KvCacheView::OneAllocation(forward_->layout(), base, num_blocks,
                                                  forward_->backend()->device());
    ASSERT_TRUE(cache.ok()) << cache.status();
    forward_->io.cache = *cache;
    const auto plan = forward_->PlanOf(SomeParts(), num_blocks, place);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const auto far = forward_->Run(*plan);
    ASSERT_TRUE(far.ok()) << far.status();
    EXPECT_TRUE(*far == *near);
  }
};

TEST_F(FarPoolTest, MoreThanFourGibibytes) {
  const int64_t half = (int64_t{1} << 32) / BlockBytes();
  const int64_t num_blocks = half + TestForward::kNumBlocks;
  const auto pool = forward_->backend()->Allocate(num_blocks * BlockBytes());
  if (absl::IsResourceExhausted(pool.status())) GTEST_SKIP() << pool.status();
  ASSERT_TRUE(pool.ok()) << pool.status();
  ExpectTheSameFrom((*pool)->address(), num_blocks, [half](int32_t id) {
    return id % 2 == 0 ? id : static_cast<int32_t>(id + half);
  });
}

// A base so many bytes before the first block that there is; nothing lies between them.
class BiasedPoolTest : public FarPoolTest, public ::testing::WithParamInterface<int64_t> {};

TEST_P(BiasedPoolTest, GivesWhatTheNearPoolGives) {
  const int64_t bias = GetParam();
  const int64_t first = bias / BlockBytes();
  const int64_t num_blocks = first + TestForward::kNumBlocks;
  const auto memory = TestReservation::Create(forward_->backend()->device().ordinal, bias,
                                              TestForward::kNumBlocks * BlockBytes());
  if (absl::IsUnimplemented(memory.status())) GTEST_SKIP() << memory.status();
  ASSERT_TRUE(memory.ok()) << memory.status();
  const auto known =
      forward_->backend()->ImportRange((*memory)->address(), num_blocks * BlockBytes());
  ASSERT_TRUE(known.ok()) << known.status();
  ExpectTheSameFrom((*memory)->address(), num_blocks,
                    [first](int32_t id) { return static_cast<int32_t>(id + first); });
}

INSTANTIATE_TEST_SUITE_P(Bytes, BiasedPoolTest,
                         ::testing::Values(int64_t{1} << 31, int64_t{1} << 33),
                         [](const auto& info) { return std::to_string(info.param >> 30) + "GiB"; });

}  // namespace
}  // namespace weft::cuda
