// SPDX-License-Identifier: Apache-2.0
//
// After a device error every call answers with that same error, and destruction ends.
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/backend.h"
#include "core/queue.h"
#include "cuda/interop.h"
#include "cuda/test_device.h"
#include "cuda/trap_kernel.h"
#include "cuda_runtime_api.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

TEST(CudaDeviceError, StaysAndDestructionEnds) {
  absl::StatusOr<std::shared_ptr<Backend>> device = TestDevice();
  if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status();
  ASSERT_TRUE(device.ok()) << device.status();
  std::shared_ptr<Backend> backend = *device;

  std::unique_ptr<Buffer> buffer = *backend->Allocate(4096);
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  std::unique_ptr<Queue> queue = *AdoptStream(*backend, stream);
  ASSERT_TRUE(queue->Fill(buffer->address(), 4096, 1).ok());
  ASSERT_EQ(LaunchTrap(stream), cudaSuccess);
  // The error may show at any call from here on, but at Wait at the latest.
  absl::Status first = queue->Submit();
  if (first.ok()) first = queue->Wait(absl::Now() + absl::Seconds(60));
  EXPECT_EQ(first.code(), absl::StatusCode::kInternal) << first;

  const uint8_t word[4] = {};
  EXPECT_EQ(queue->Wait(absl::InfiniteFuture()), first);
  EXPECT_EQ(queue->Submit(), first);
  EXPECT_EQ(queue->Fill(buffer->address(), 4096, 2), first);
  EXPECT_EQ(queue->CopyFromHost(buffer->address(), word), first);

  const absl::Time start = absl::Now();
  queue.reset();
  buffer.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

}  // namespace
}  // namespace weft::cuda
