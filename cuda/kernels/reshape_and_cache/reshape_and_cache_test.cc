// SPDX-License-Identifier: Apache-2.0
//
// The kernel on a device, at its own border: what Queue::ReshapeAndCache would never let through.
// (What it lets through is the conformance suite's.)
#include "cuda/kernels/reshape_and_cache/reshape_and_cache.h"

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/backend.h"
#include "core/divisor.h"
#include "cuda/kernels/reshape_and_cache/config.h"
#include "cuda/kernels/reshape_and_cache/params.h"
#include "cuda/test_device.h"
#include "cuda_runtime_api.h"
#include "gtest/gtest.h"

namespace weft::cuda {
namespace {

constexpr int64_t kHeads = 2;
constexpr int64_t kHeadBytes = 80;
constexpr int64_t kBlockSize = 3;
constexpr int64_t kRowBytes = kHeads * kHeadBytes;
constexpr int64_t kBlockBytes = kBlockSize * kRowBytes;  // of keys, then as many of values

class ReshapeAndCacheKernel : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Backend>> device = TestDevice();
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status();
    ASSERT_TRUE(device.ok()) << device.status();
    backend_ = *device;
    ASSERT_EQ(cudaSetDevice(backend_->device().ordinal), cudaSuccess);
  }

  template <typename T>
  std::unique_ptr<Buffer> Upload(const std::vector<T>& values) {
    const size_t bytes = values.size() * sizeof(T);
    std::unique_ptr<Buffer> buffer = *backend_->Allocate(static_cast<int64_t>(bytes));
    EXPECT_EQ(cudaMemcpy(reinterpret_cast<void*>(buffer->address()), values.data(), bytes,
                         cudaMemcpyHostToDevice),
              cudaSuccess);
    return buffer;
  }

  std::vector<uint8_t> Download(const Buffer& buffer) {
    std::vector<uint8_t> bytes(static_cast<size_t>(buffer.size_bytes()));
    EXPECT_EQ(cudaMemcpy(bytes.data(), reinterpret_cast<const void*>(buffer.address()),
                         bytes.size(), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return bytes;
  }

  std::shared_ptr<Backend> backend_;
};

ReshapeAndCacheParams Params(int unit_bytes, const Buffer& rows, const Buffer& slots,
                             int64_t num_tokens) {
  ReshapeAndCacheParams p = {};
  p.key = {rows.address(), kRowBytes, kHeadBytes};
  p.value = {rows.address() + static_cast<uint64_t>(num_tokens * kRowBytes), kRowBytes, kHeadBytes};
  p.slots = slots.address();
  p.num_tokens = num_tokens;
  p.units_per_head = static_cast<uint32_t>(kHeadBytes / unit_bytes);
  p.by_units_per_head = MakeDivisor(p.units_per_head);
  p.row_units = static_cast<uint32_t>(kRowBytes / unit_bytes);
  p.key_cache = p.value_cache = {2 * kBlockBytes,  kRowBytes,          kHeadBytes, 0,
                                 p.units_per_head, p.by_units_per_head};
  p.block_size = kBlockSize;
  return p;
}

// One real block, and a base so far below it that the offset to it passes 2^31, 2^32 and 2^33.
// Arithmetic in 32 bits would fault, or leave the block as it was.
TEST_P(ReshapeAndCacheKernel, FollowsOffsetsBeyondThirtyTwoBits) {
  const int unit_bytes = GetParam();
  std::vector<uint8_t> rows(2 * 2 * kRowBytes);
  std::iota(rows.begin(), rows.end(), uint8_t{1});
  const std::unique_ptr<Buffer> source = Upload(rows);
  for (int shift : {31, 32, 33, 38}) {
    const int64_t far = (int64_t{1} << shift) / (2 * kBlockBytes) + 1;
    const std::unique_ptr<Buffer> block = Upload(std::vector<uint8_t>(2 * kBlockBytes, 0xA5));
    const std::unique_ptr<Buffer> slots =
        Upload(std::vector<int64_t>{far * kBlockSize + 2, far * kBlockSize});
    ReshapeAndCacheParams p = Params(unit_bytes, *source, *slots, 2);
    p.num_blocks = p.blocks_per_segment = far + 1;
    p.segments[0].key_base = block->address() - static_cast<uint64_t>(far * 2 * kBlockBytes);
    p.segments[0].value_base = p.segments[0].key_base + kBlockBytes;
    ASSERT_EQ(LaunchReshapeAndCache(
                  p, unit_bytes,
                  ChooseReshapeAndCacheShape(2, p.row_units, kReshapeTokensInFlight, 1), nullptr),
              cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << "shift " << shift;

    std::vector<uint8_t> expected(2 * kBlockBytes, 0xA5);
    for (int64_t i = 0; i < kRowBytes; ++i) {
      expected[2 * kRowBytes + i] = rows[i];
      expected[i] = rows[kRowBytes + i];
      expected[kBlockBytes + 2 * kRowBytes + i] = rows[2 * kRowBytes + i];
      expected[kBlockBytes + i] = rows[3 * kRowBytes + i];
    }
    EXPECT_EQ(Download(*block), expected) << "shift " << shift;
  }
}

// Slots that no checked caller would pass must not be written, wherever they point.
TEST_P(ReshapeAndCacheKernel, WritesNothingOutsideItsBlocks) {
  const int unit_bytes = GetParam();
  const std::vector<int64_t> wild = {-1,        -2, 3 * kBlockSize, int64_t{1} << 32, INT64_MAX,
                                     INT64_MIN, 0};
  const auto n = static_cast<int64_t>(wild.size());
  const std::unique_ptr<Buffer> source =
      Upload(std::vector<uint8_t>(static_cast<size_t>(2 * n * kRowBytes), 7));
  const std::unique_ptr<Buffer> slots = Upload(wild);
  // Blocks 1 and 2 of a cache; 0 belongs to another launch. Around them a block of canaries.
  const std::unique_ptr<Buffer> blocks = Upload(std::vector<uint8_t>(8 * kBlockBytes, 0xA5));
  ReshapeAndCacheParams p = Params(unit_bytes, *source, *slots, n);
  p.first_block = 1;
  p.num_blocks = p.blocks_per_segment = 2;
  p.segments[0].key_base = blocks->address() + 2 * kBlockBytes;
  p.segments[0].value_base = p.segments[0].key_base + kBlockBytes;
  ASSERT_EQ(LaunchReshapeAndCache(
                p, unit_bytes,
                ChooseReshapeAndCacheShape(n, p.row_units, kReshapeTokensInFlight, 1), nullptr),
            cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(Download(*blocks), std::vector<uint8_t>(8 * kBlockBytes, 0xA5));
}

INSTANTIATE_TEST_SUITE_P(Units, ReshapeAndCacheKernel, testing::ValuesIn(kReshapeUnitBytes));

}  // namespace
}  // namespace weft::cuda
