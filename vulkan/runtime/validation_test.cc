// SPDX-License-Identifier: Apache-2.0
//
// The validation layer has nothing to say about the runtime, and says something about a fault.
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "vulkan/runtime/test_stream.h"

namespace weft::vulkan {
namespace {

class ValidationTest : public StreamTest {
 protected:
  bool validate() const override { return true; }
};

TEST_F(ValidationTest, IsSilentOverTheRuntime) {
  StreamOptions options;
  options.max_dispatches_per_batch = 3;
  std::unique_ptr<CommandStream> stream = Stream(options);
  stream->SetProfiling(true);
  const int64_t count = 3 << 20;  // 12 MiB: two staging chunks
  const uint64_t a = Words(count), b = Words(count), sizes = Words(2);
  std::vector<uint32_t> in(count, 1), out(count);
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(Upload(*stream, a, in).ok());
    ASSERT_TRUE(Fill(*stream, b, count, 0).ok());
    for (uint32_t local_size : {64u, 3u}) {
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(
            Dispatch(*stream, *Affine(local_size), local_size, {a, b, sizes, 1000, 1}).ok());
      }
    }
    ASSERT_TRUE(stream->Operation(0, [&] { return stream->Copy(a, b, 4000); }).ok());
    ASSERT_TRUE(Download(*stream, out, a).ok());
    ASSERT_TRUE(stream->Submit().ok());
    ASSERT_TRUE(stream->Wait(absl::Now() + absl::Seconds(60)).ok());
    EXPECT_EQ(out[0], 3u);
  }
  absl::StatusOr<std::vector<uint8_t>> blob = device_->kernels().Save();
  ASSERT_TRUE(blob.ok());
  EXPECT_TRUE(device_->kernels().Load(*blob).ok());
  stream.reset();
  EXPECT_EQ(ValidationMessageCount(), 0) << absl::StrJoin(ValidationMessages(), "\n");
}

// Last: the count is the process's.
TEST_F(ValidationTest, ZSeesAPlantedFault) {
  const int64_t before = ValidationMessageCount();
  std::unique_ptr<CommandStream> stream = Stream();
  const uint64_t a = Words(4);
  // No multiple of 4; weft::Queue would not let it through.
  ASSERT_TRUE(stream->Operation(1, [&] { return stream->Fill(a, 6, 0); }).ok());
  EXPECT_GT(ValidationMessageCount(), before);
  EXPECT_NE(absl::StrJoin(ValidationMessages(), "\n").find("vkCmdFillBuffer"), std::string::npos);
}

}  // namespace
}  // namespace weft::vulkan
